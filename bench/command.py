"""What the commands of `bench.cli` do."""

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from bench import running
from bench.plan import FULL, SMOKE, Plan
from bench.report.writing import goal_lines, write_report, write_smoke_pages

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent

EXIT_WRONG = 1
EXIT_TERMINATED = 143


def run(parts: Sequence[str], minutes: float | None, repetitions: int | None, *, report: bool) -> None:
    plan = FULL
    if minutes is not None:
        plan = replace(plan, soak_minutes=minutes)
    if repetitions is not None:
        plan = replace(plan, repetitions=repetitions)
    started = datetime.now(UTC)
    console = Console(stderr=True, highlight=False)
    target = RESULTS / f"{started.strftime('%Y-%m-%dT%H%M%SZ')}.json"
    document = _measure(plan, parts, started, target, console)
    for line in goal_lines(document):
        console.print(line)
    if report:
        write_report(document, ROOT)
        console.print(f"report: {ROOT / 'docs/performance.md'}")
    _end(document, console)


def smoke() -> None:
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="sluice-smoke-") as name:
        document = _measure(SMOKE, running.PARTS, datetime.now(UTC), Path(name) / "smoke.json", console)
        write_smoke_pages(document, Path(name))
    _end(document, console)


def page(figures: Path | None) -> None:
    newest = figures or max(RESULTS.glob("2*.json"))
    write_report(json.loads(newest.read_text()), ROOT)


def _measure(plan: Plan, parts: Sequence[str], started: datetime, target: Path, console: Console) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    document: dict[str, Any] = {"started": started.isoformat(timespec="seconds")}
    unfinished = target.with_suffix(".json.tmp")
    try:
        with _directory() as directory, console.status("measuring") as status:

            def say(line: str) -> None:
                console.print(line)
                status.update(line)

            running.run(plan, parts, directory, document, say)
    finally:
        # Also after a failure: half an hour of figures is not thrown away because the last step failed.
        unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.replace(target)
    console.print(f"figures: {target}, after {document['seconds']['all'] / 60:.1f} minutes")
    return document


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    # Another account runs PostgreSQL and must get to its data.
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _end(document: dict[str, Any], console: Console) -> None:
    """Exit status 1 if something happened that should not."""
    if wrong := running.unexpected(document):
        console.print("\n".join(wrong), style="red")
        raise typer.Exit(EXIT_WRONG)
