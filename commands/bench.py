"""`sluice bench`, where this is a source tree. The benches are no part of what is installed, and above the commands in
the order of imports, so they are looked for when the command line is put together.
"""

import importlib
import importlib.util
from pathlib import Path

import typer

_ROOT = Path(__file__).parent.parent


def found() -> typer.Typer | None:
    """The commands of the package `bench` beside this one; a package of that name elsewhere is somebody else's."""
    spec = importlib.util.find_spec("bench")
    if spec is None or spec.origin is None or Path(spec.origin).parent != _ROOT / "bench":
        return None
    commands: typer.Typer = importlib.import_module("bench.cli").app
    return commands
