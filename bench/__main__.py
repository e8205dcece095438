"""`python -m bench`: measures, writes the figures as JSON and the report that is made from them alone."""

import json
import shutil
import signal
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench import report, running

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
REPORT = Path(__file__).parent.parent / "docs" / "performance.md"

EXIT_WRONG = 1
EXIT_TERMINATED = 143


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="does everything work? two minutes, and figures that mean nothing")
    ] = False,
    minutes: Annotated[float | None, typer.Option(min=0, help="of the memory run; 0 leaves it out")] = None,
    repetitions: Annotated[int | None, typer.Option(min=1, help="of every measurement")] = None,
) -> None:
    """Measures the no-op server, the embedded gateway and a whole local cluster beside each other."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    plan = running.QUICK if quick else running.FULL
    if minutes is not None:
        plan = replace(plan, soak_minutes=minutes)
    if repetitions is not None:
        plan = replace(plan, repetitions=repetitions)
    console = Console(stderr=True, highlight=False)
    started = datetime.now(UTC)
    document: dict[str, Any] = {"started": started.isoformat(timespec="seconds")}
    name = "quick" if quick else started.strftime("%Y-%m-%dT%H%M%SZ")
    unfinished = RESULTS / f"{name}.json.tmp"
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    # Another account runs PostgreSQL and must get to its data.
    directory.chmod(0o755)
    try:
        with console.status("measuring") as status:

            def say(line: str) -> None:
                console.print(line)
                status.update(line)

            running.run(plan, directory, document, say)
    finally:
        # Also after a failure: an hour of figures is not thrown away because the last step failed.
        unfinished.write_text(json.dumps(document, indent=1) + "\n")
        shutil.rmtree(directory, ignore_errors=True)
    finished = unfinished.replace(RESULTS / f"{name}.json")
    target = finished.with_suffix(".md") if quick else REPORT
    target.parent.mkdir(exist_ok=True)
    target.write_text(report.render(document))
    if not quick:
        README.write_text(report.with_figures(README.read_text(), document))
    console.print(f"figures: {finished}\nreport: {target}")
    if wrong := running.unexpected(document):
        console.print("\n".join(wrong), style="red")
        raise typer.Exit(EXIT_WRONG)


if __name__ == "__main__":
    typer.run(main)
