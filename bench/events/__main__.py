"""`python -m bench.events`: what is said of ordered events on Kafka, measured here, and what Sluice does about it.

Every part starts the servers that it needs and stops them. Figures go to bench/results/events.json, one entry a part,
so that parts can be measured at different times; page and plot are made from that file alone.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.events import batching, flood, moving_slots, parallel_lanes, partition_count, rebalancing, replication
from bench.events.brokers import Brokers, running_brokers
from bench.events.progress import Say
from bench.events.report import FIGURES, PAGE, PLOT, RESULTS, render
from bench.machine import describe_machine
from sluice.telemetry import logs

EXIT_TERMINATED = 143
QUICK_SHARE = 0.1
FLOOD_ORDERS = 1_000_000
"""So each consumer has a backlog of a million records."""

Part = Callable[[Path, Brokers, Say, float], dict[str, Any]]


def _with_broker(measure: Callable[[Brokers, Say, float], dict[str, Any]]) -> Part:
    return lambda _, brokers, say, share: measure(brokers, say, share)


ON_ONE_BROKER: Mapping[str, Part] = {
    "partitions": _with_broker(partition_count.measure),
    "batching": _with_broker(batching.measure),
    "lanes": _with_broker(parallel_lanes.measure),
    "rebalance": _with_broker(rebalancing.measure),
    "replication": replication.measure,
}
ON_A_CLUSTER: Mapping[str, Callable[[Path, Say, float], dict[str, Any]]] = {
    "flood": lambda directory, say, share: flood.measure(flood.Flood(int(FLOOD_ORDERS * share)), directory, say),
    "moving": moving_slots.measure,
}
PARTS = (*ON_ONE_BROKER, *ON_A_CLUSTER)


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"a part, of {', '.join(PARTS)}; may be repeated. [default: all]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="does everything work? a tenth of each, and figures that mean nothing")
    ] = False,
) -> None:
    """Measures events: partitions, batches, lanes, rebalances, copies, relay, consumers, moves of slots."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    logs.configure("warning", "auto", role="bench")
    wanted = only or list(PARTS)
    if unknown := sorted(set(wanted) - set(PARTS)):
        raise typer.BadParameter(f"no such part: {', '.join(unknown)}")
    target = RESULTS / "events-quick.json" if quick else FIGURES
    document: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
    console = Console(stderr=True, highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-events-"))
    # Another account runs PostgreSQL and must get to its data.
    directory.chmod(0o755)
    try:
        with console.status("measuring") as status:

            def say(line: str) -> None:
                console.print(line)
                status.update(line)

            for name, figures in _measure(wanted, directory, say, QUICK_SHARE if quick else 1.0):
                # After each part: what comes later may fail.
                document[name] = figures
                target.write_text(json.dumps(document, indent=1) + "\n")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    console.print(f"figures: {target}")
    write_page(document, target.with_suffix(".md") if quick else PAGE, target.with_suffix(".png") if quick else PLOT)


def write_page(document: dict[str, Any], page: Path, picture: Path) -> None:
    # Only here: who measures without `make bench-events` may not have what draws.
    from bench.events import plot  # noqa: PLC0415

    page.write_text(render(document))
    plot.draw(document, picture)


def _measure(wanted: list[str], directory: Path, say: Say, share: float) -> Any:
    with ExitStack() as stack:
        alone: Brokers | None = None
        for name in [name for name in ON_ONE_BROKER if name in wanted]:
            alone = alone or stack.enter_context(running_brokers(directory / "alone"))
            yield name, _part(name, directory, say, partial(ON_ONE_BROKER[name], directory, alone, say, share))
    for name in [name for name in ON_A_CLUSTER if name in wanted]:
        place = directory / name
        place.mkdir()
        place.chmod(0o755)
        yield name, _part(name, directory, say, partial(ON_A_CLUSTER[name], place, say, share))


def _part(name: str, directory: Path, say: Say, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    say(f"--- {name}")
    facts = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "machine": describe_machine(directory)}
    started = time.monotonic()
    figures = measure()
    took = {"took_s": round(time.monotonic() - started, 1), "load_average_after": os.getloadavg()[0]}
    return facts | took | {"figures": figures}


if __name__ == "__main__":
    typer.run(main)
