"""The goals that came before those of `bench.goals`, most of them milder; they stay promised."""

from collections.abc import Sequence
from typing import Any

from bench.figures import ratios, slope_per_minute, spread
from bench.goals import NOT_MEASURED, TOLERATED_REFUSALS, Goal, at_least, refused_share
from bench.plan import BEYOND_PEAK
from bench.report.selecting import (
    NOT_PROMISED,
    Document,
    fastest_journal,
    highest_memory,
    rates,
    reference_in_flight,
    select,
    writes_per_1000,
)

UNARY_GOAL = 0.5
STREAM_GOAL = 0.4
HOT_GOAL = 0.8
HOT_ESCROW_GOAL = 0.9
EXACT_GOAL = 0.5
WRITES_GOAL = 5.0
"""Conditional writes per 1,000 orders on one hot SKU, policy `escrow`."""
MEMORY_GOAL_MIB = 150.0

SETTLING_SHARE = 0.2
"""Of the memory run: caches fill at first, and only what grows after that goes on growing."""

STEADY_MIB = 5.0
"""Growth from the settled start to the end that still counts as flat: an allocator's own ups and downs."""

_STREAM_CONDITIONS = {
    "embedded": (("hot", ""),),
    "cluster": (("accept", ", relay standing still"), ("hot", ", relay at work on the same cores")),
}


def goals(document: Document) -> list[Goal]:
    """The promises of that stage, by what this run says of them."""
    found = [_unary(document, system) for system in ("embedded", "cluster")]
    for system, journal in (("embedded", "sqlite"), ("cluster", "postgresql")):
        for load, condition in _STREAM_CONDITIONS[system]:
            promise = f"stream, {system}{condition}: at least {STREAM_GOAL} of the bare journal function"
            compared = _compared(rates(document, "stream", system, load=load), fastest_journal(document, journal))
            found.append(at_least("", promise, compared, STREAM_GOAL))
    found += [_hot(document, system, "some", "1,000", HOT_GOAL) for system in ("embedded", "cluster")]
    found.append(_hot(document, "cluster", "many", "10,000", HOT_ESCROW_GOAL))
    exact = _compared(
        rates(document, "stream", "cluster", load="exact"), rates(document, "stream", "cluster", load="hot")
    )
    found.append(at_least("", f"one hot SKU, cluster: `exact` at least {EXACT_GOAL} of `escrow`", exact, EXACT_GOAL))
    found += [_writes(document), _memory(document)]
    if "soak" in document:
        found.append(_flat(document["soak"]))
    return found


def settled(series: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    end = series[-1][0]
    return [(time, mib) for time, mib in series if time >= SETTLING_SHARE * end]


def _unary(document: Document, system: str) -> Goal:
    at = reference_in_flight(document)
    compared = _compared(
        rates(document, "unary", system, load="hot", in_flight=at),
        rates(document, "unary", "noop", load="hot", in_flight=at),
    )
    promise = f"unary PlaceOrder, {system}: at least {UNARY_GOAL} of the no-op rate"
    return at_least("", promise, compared, UNARY_GOAL)


def _hot(document: Document, system: str, load: str, skus: str, goal: float) -> Goal:
    """A rate that was refused its orders is nothing to compare with."""
    promise = f"one hot SKU, {system}: at least {goal} of {skus} SKUs"
    over = select(document, "stream", system, load=load)
    if (share := refused_share(over)) > TOLERATED_REFUSALS:
        measured = f"no comparison: {share:.0%} of the orders on {skus} SKUs were refused"
        return Goal("", promise, measured, holds=False)
    hot = rates(document, "stream", system, load="hot")
    return at_least("", promise, _compared(hot, [run["orders_per_s"] for run in over]), goal)


def _writes(document: Document) -> Goal:
    promise = f"one hot SKU, `escrow`: at most {WRITES_GOAL:g} conditional writes per 1,000 orders"
    runs = select(document, "stream", "cluster", load="hot")
    if not runs:
        return Goal("", promise, NOT_MEASURED, None)
    writes = spread(writes_per_1000(runs))
    measured = f"{writes.middle:.2f} ({writes.low:.2f} to {writes.high:.2f})"
    return Goal("", promise, measured, writes.high <= WRITES_GOAL)


def _memory(document: Document) -> Goal:
    promise = f"every Python process stays below {MEMORY_GOAL_MIB:g} MB, offered up to {BEYOND_PEAK:g} times the peak"
    by_process = highest_memory(document)
    if not by_process:
        return Goal("", promise, NOT_MEASURED, None)
    name, mib = max(by_process.items(), key=lambda entry: entry[1])
    return Goal("", promise, f"{mib:.0f} MB at most ({name})", mib <= MEMORY_GOAL_MIB)


def _flat(soak: dict[str, Any]) -> Goal:
    growth = {name: _growth_mib(series) for name, series in soak["rss_mib"].items() if name not in NOT_PROMISED}
    name, mib = max(growth.items(), key=lambda entry: entry[1])
    promise = f"memory is flat over {soak['minutes']:g} minutes"
    return Goal("", promise, f"{mib:+.1f} MB at most ({name})", mib <= STEADY_MIB)


def _growth_mib(series: Sequence[Sequence[float]]) -> float:
    after = settled(series)
    minutes = (after[-1][0] - after[0][0]) / 60
    return slope_per_minute(after) * minutes


def _compared(measured: Sequence[float], reference: Sequence[float]) -> list[float]:
    return ratios(measured, reference) if measured and reference else []
