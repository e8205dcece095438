"""`sluice bench`, where this is a source tree. The benches are no part of what is installed, and above the commands in
the order of imports, so they are looked for when the command line is put together.
"""

import importlib.util
from pathlib import Path

MODULE = "bench.cli"

_ROOT = Path(__file__).parent.parent


def is_there() -> bool:
    """Whether the package `bench` is the one beside this package; one of that name elsewhere is somebody else's."""
    spec = importlib.util.find_spec("bench")
    return spec is not None and spec.origin is not None and Path(spec.origin).parent == _ROOT / "bench"
