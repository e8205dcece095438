"""Open loop: single calls at a fixed rate, below, near and beyond what the closed loop beside it reached."""

from collections.abc import Sequence
from typing import Any

from bench.latencies import Latencies
from bench.orders import HOT_SKUS
from bench.plan import BELOW_PEAK, BEYOND_PEAK
from bench.settling import wait_until_quiet
from bench.stage import Stage, unary_load
from bench.systems import System

RATE_OF_ONE_GENERATOR = 3_000
"""Orders a second that one load process can send in time; for more, more of them."""


def run(stage: Stage, repetition: int) -> None:
    """What is promised of the embedded gateway each time; once a curve of it, and of the cluster."""
    first = repetition == 0
    curve = stage.plan.rate_shares if first else ()
    for system in (stage.embedded, stage.cluster) if first else (stage.embedded,):
        peak = peak_of(stage, system, repetition)
        for share in sorted({BELOW_PEAK, BEYOND_PEAK, *curve}):
            at_rate(stage, "at_rate", system, share * peak, share_of_peak=share, peak=peak, repetition=repetition)


def at_rate(stage: Stage, kind: str, system: System, rate: float, **notes: Any) -> None:
    """`kind`: of the run that is noted."""
    # One core is the server's: with more generators than that its share of the time, not its work, would be measured.
    at_most = max(1, stage.document["machine"]["cores"] - 1)
    generators = min(max(1, round(rate / RATE_OF_ONE_GENERATOR)), at_most)
    load = {
        "kind": "at_rate",
        "endpoint": system.endpoint,
        "skus": HOT_SKUS,
        "rate": rate / generators,
        "warm_s": stage.plan.rate_warm_s,
        "seconds": stage.plan.rate_seconds,
    }
    wait_until_quiet(system.metrics, stage.plan.quiet_s)
    results, cost = stage.drive(system, [load] * generators)
    stage.note(kind, system.name, f"{rate:,.0f}/s offered", joined(results) | cost | notes | {"generators": generators})


def joined(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several generators saw, as if one had."""
    refused: dict[str, int] = {}
    warm_refused: dict[str, int] = {}
    for result in results:
        for total, told in ((refused, result["refused"]), (warm_refused, result["warm_refused"])):
            for reason, count in told.items():
                total[reason] = total.get(reason, 0) + count
    seconds = results[0]["seconds"]
    accepted, refusals, lateness = (
        Latencies.joined([result[name] for result in results])
        for name in ("latencies", "refused_latencies", "lateness")
    )
    in_time = sum(result["in_time"] for result in results)
    return {
        "offered_per_s": sum(result["offered"] for result in results) / seconds,
        "accepted": sum(result["accepted"] for result in results),
        "refused": refused,
        "warm_refused": warm_refused,
        "elapsed_s": max(result["elapsed_s"] for result in results),
        "seconds": seconds,
        # Served while it was offered: what is accepted after the end is backlog.
        "orders_per_s": in_time / seconds,
        "latency_ms": accepted.in_ms(),
        "latencies": accepted.encoded(),
        "refused_latency_ms": refusals.in_ms(),
        "late_ms": lateness.in_ms(),
    }


def peak_of(stage: Stage, system: System, repetition: int) -> float:
    """Of the closed loop beside it; measured now if that part was left out."""
    runs = [
        run
        for run in stage.document["runs"]
        if (run["kind"], run["system"], run["repetition"]) == ("unary", system.name, repetition)
        and run["load"] == "hot"
        and run["in_flight"] == stage.plan.unary_reference
    ]
    if not runs:
        load = unary_load(stage.plan, system, HOT_SKUS, stage.plan.unary_reference)
        notes = {"load": "hot", "in_flight": stage.plan.unary_reference, "repetition": repetition}
        runs = [stage.run("unary", system, "for the open loop", [load], notes)]
    rate: float = runs[0]["orders_per_s"]
    return rate
