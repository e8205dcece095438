"""`python -m bench.client`: what `sluice.client` costs. A thousand coroutines that place one order at a time, beside
batches of 500 that are made by hand, on the same servers in turn.

The hand-made batches keep 4,000 orders under way (8 messages), or a thousand (2), which is what the coroutines have.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from bench import systems
from bench.figures import Spread, ratios, spread
from bench.measure import read_clock, used_between
from bench.systems import System
from bench.workers import worker
from sluice.client.sync import Client

SKU = "bench-client"
UNITS = 1_000_000_000
CREATE_TIMEOUT_S = 30.0

CALLERS = 1_000
BATCH = 500

BY_HAND = "batches by hand, 8 under way"

_COROUTINES = {"load": "coroutines", "callers": CALLERS}
_BATCHES = {"load": "batches", "event_loop": "uvloop", "size": BATCH}
WAYS: Mapping[str, Mapping[str, Any]] = {
    BY_HAND: _BATCHES | {"in_flight": 8},
    "batches by hand, 2 under way": _BATCHES | {"in_flight": 2},
    "1,000 coroutines, uvloop": _COROUTINES | {"event_loop": "uvloop"},
    "1,000 coroutines, asyncio": _COROUTINES | {"event_loop": "asyncio"},
}

SELLING = ("embedded", "gateway-0", "stockd-0", "stockd-1")
"""Our processes on the way of an order."""

Say = Callable[[str], None]


class Row(NamedTuple):
    """One way on one system. `ratio` is to BY_HAND, repetition by repetition; CPU is µs for each accepted order, until
    all were answered.
    """

    system: str
    way: str
    orders_per_s: Spread
    ratio: Spread
    p50_ms: Spread
    p99_ms: Spread
    client_us: Spread
    selling_us: Spread


def compare(system: System, orders: int, repetitions: int, say: Say) -> list[dict[str, Any]]:
    """`orders` in each way, as often as `repetitions` says; a quarter of that first, to warm up."""
    with Client(system.endpoint, timeout_s=CREATE_TIMEOUT_S) as client:
        client.create_sku(SKU, UNITS)
    runs = []
    for repetition in range(repetitions):
        for way, settings in WAYS.items():
            result = _measured(
                system, {"endpoint": system.endpoint, "sku": SKU, **settings, **_amount(settings, orders)}
            )
            runs.append({"system": system.name, "way": way, "repetition": repetition, **result})
            say(f"{system.name:9} {way:29} {result['orders_per_s']:>8,.0f} orders/s {result['refused'] or ''}")
    return runs


def _amount(settings: Mapping[str, Any], orders: int) -> dict[str, int]:
    if settings["load"] == "batches":
        return {"warm_messages": orders // 4 // BATCH, "messages": orders // BATCH}
    return {"warm_orders": orders // 4 // CALLERS, "orders": orders // CALLERS}


def _measured(system: System, settings: dict[str, Any]) -> dict[str, Any]:
    with worker("bench.client_load", settings) as load:
        load.wait_until_warm()
        system.drain()
        clocked = dict(system.pids) | {"client": load.pid}
        before = read_clock(clocked)
        load.begin()
        result: dict[str, Any] = load.result()
        result["cpu_s"] = used_between(before, read_clock(clocked))
        system.drain()
    return result


def summarise(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    rows = []
    for system in dict.fromkeys(run["system"] for run in runs):
        own = {way: [run for run in runs if (run["system"], run["way"]) == (system, way)] for way in WAYS}
        reference = [run["orders_per_s"] for run in own[BY_HAND]]
        for way, same in own.items():
            rates = [run["orders_per_s"] for run in same]
            rows.append(
                Row(
                    system,
                    way,
                    spread(rates),
                    spread(ratios(rates, reference)),
                    spread([run["p50_ms"] for run in same]),
                    spread([run["p99_ms"] for run in same]),
                    spread([_us(run, ["client"]) for run in same]),
                    spread([_us(run, SELLING) for run in same]),
                )
            )
    return rows


def _us(run: Mapping[str, Any], names: Sequence[str]) -> float:
    used: Mapping[str, float] = run["cpu_s"]
    return 1e6 * float(sum(used.get(name, 0.0) for name in names)) / int(run["accepted"])


def describe(row: Row) -> str:
    low, middle, high = row.ratio
    return (
        f"{row.system:9} {row.way:29} {row.orders_per_s.middle:>8,.0f} orders/s  ratio {middle:.2f} ({low:.2f} to "
        f"{high:.2f})  p50 {row.p50_ms.middle:.0f} ms  p99 {row.p99_ms.middle:.0f} ms  CPU an order: client "
        f"{row.client_us.middle:.1f} us, gateway and stockd {row.selling_us.middle:.1f} us"
    )


def main(
    orders: Annotated[int, typer.Option(min=2_000, help="in each run")] = 120_000,
    repetitions: Annotated[int, typer.Option(min=1)] = 3,
    only_embedded: Annotated[bool, typer.Option("--only-embedded", help="without the servers of a cluster")] = False,
    out: Annotated[Path | None, typer.Option(help="every run, as JSON")] = None,
) -> None:
    """Measures the client library beside hand-made batches, embedded and on a local cluster."""
    directory = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    directory.chmod(0o755)  # another account runs PostgreSQL and must get to its data
    runs: list[dict[str, Any]] = []
    try:
        with ExitStack() as opened:
            measured = [opened.enter_context(systems.embedded(directory))]
            if not only_embedded:
                measured.append(opened.enter_context(systems.whole_cluster(directory, print))[0])
            for system in measured:
                runs += compare(system, orders, repetitions, print)
            for system in measured:
                if findings := system.audit().findings:
                    raise SystemExit(f"audit of {system.name}: {findings}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if out:
        out.write_text(json.dumps(runs, indent=1) + "\n")
    for row in summarise(runs):
        print(describe(row))


if __name__ == "__main__":
    typer.run(main)
