"""`python -m bench.capacity`: measures what the capacity model needs; makes its slopes and its page from that."""

import json
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from bench.capacity.fitting import slopes_of
from bench.capacity.foreseeing import foresee
from bench.capacity.measuring import measure
from bench.capacity.page import PAGE, page
from capacity.shipped import FILE

MEASURED = Path(__file__).parents[1] / "results" / "capacity.json"
COMMAND = "make bench-capacity"
EXIT_TERMINATED = 143

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def run(context: typer.Context) -> None:
    """Measures for about twelve minutes, on servers of its own; nothing else should run. Then as `fit`."""
    if context.invoked_subcommand:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    console = Console(stderr=True, highlight=False)
    document: dict[str, Any] = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "command": COMMAND}
    directory = Path(tempfile.mkdtemp(prefix="sluice-capacity-"))
    # Another account runs PostgreSQL and must get to its data.
    directory.chmod(0o755)
    unfinished = MEASURED.with_suffix(".json.tmp")
    try:
        measure(directory, document, console.print)
    finally:
        unfinished.write_text(json.dumps(document, indent=1) + "\n")
        shutil.rmtree(directory, ignore_errors=True)
    unfinished.replace(MEASURED)
    fit()


@app.command()
def fit() -> None:
    """Makes capacity/slopes.json from what was measured last, and docs/capacity.md from that."""
    document = json.loads(MEASURED.read_text(encoding="utf-8"))
    slopes = slopes_of(document) | {"checks": foresee(document)}
    FILE.write_text(json.dumps(slopes, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(slopes), encoding="utf-8")


if __name__ == "__main__":
    app()
