"""A goal of speed holds or is missed by the figures of one run; what was not measured is neither."""

from typing import Any

import pytest

from bench.goals import NOT_MEASURED, judge


def a_run(kind: str, system: str, rate: float, repetition: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "system": system,
        "repetition": repetition,
        "accepted": 1_000,
        "refused": {},
        "orders_per_s": rate,
        "cpu_s": {"gateway-0": 0.004, "stockd-0": 0.001, "stockd-1": 0.001},
        **more,
    }


def a_burst(system: str, p95_ms: float, load: str = "peer") -> dict[str, Any]:
    return a_run("burst", system, 1.0, load=load, bursts=[{"latency_ms": {"p95": p95_ms}}])


def beyond_peak(goodput: float, refused: int, slowest_ms: float) -> dict[str, Any]:
    """Offered 2,000 a second for 2 s, with a peak of 1,000."""
    return a_run(
        "at_rate",
        "embedded",
        goodput,
        share_of_peak=2.0,
        peak=1_000.0,
        offered_per_s=2_000.0,
        seconds=2.0,
        refused={"OVERLOADED": refused} if refused else {},
        refused_latency_ms={"max": slowest_ms if refused else None},
    )


def a_document(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"plan": {"unary_reference": 128}, "runs": list(runs)}


def verdicts(document: dict[str, Any], key: str) -> list[bool | None]:
    return [goal.holds for goal in judge(document) if goal.key == key]


def test_what_was_not_measured_neither_holds_nor_fails() -> None:
    goals = judge(a_document())
    assert {goal.key for goal in goals} == {"", "P1", "P1b", "P2", "P3", "P4", "P5", "P6", "P7", "P8"}
    assert all(goal.holds is None and goal.measured == NOT_MEASURED for goal in goals)


@pytest.mark.parametrize(("rate", "holds"), [(99_000.0, False), (100_000.0, True)])
def test_the_stream_is_held_against_tigerbeetle_at_its_best(rate: float, holds: bool) -> None:
    slow = a_run("tigerbeetle", "tigerbeetle", 60_000.0, clients=1, batch=500)
    best = a_run("tigerbeetle", "tigerbeetle", 100_000.0, clients=4, batch=8_189)
    document = a_document(slow, best, a_run("stream", "cluster", rate, load="hot"))
    assert verdicts(document, "P1") == [None, holds]
    assert "4 clients, 8,189 a batch" in next(goal.promise for goal in judge(document) if goal.key == "P1")


@pytest.mark.parametrize(("p95_ms", "holds"), [(15.0, [True, True]), (16.0, [False, True]), (21.0, [False, False])])
def test_a_burst_is_held_against_both_peers(p95_ms: float, holds: list[bool]) -> None:
    peers = (a_burst("redis", 10.0), a_burst("lwt_per_order", 100.0))
    assert verdicts(a_document(*peers, a_burst("cluster", p95_ms, "escrow")), "P4") == holds


def test_cpu_is_that_of_gateway_and_stock_servers_only() -> None:
    run = a_run("stream", "cluster", 1.0, load="hot")
    run["cpu_s"] |= {"postgres": 9.0, "client": 9.0}
    assert verdicts(a_document(run), "P5")[0] is True
    run["cpu_s"]["stockd-1"] = 0.004
    assert verdicts(a_document(run), "P5")[0] is False


def test_more_stock_servers_may_cost_a_fifth_more() -> None:
    one = a_run("stockds", "fleet of 1", 1.0, load="some", stockds=1)
    eight = a_run("stockds", "fleet of 8", 1.0, load="some", stockds=8)
    assert verdicts(a_document(one, eight), "P6") == [None, True]
    eight["cpu_s"]["stockd-7"] = 0.002
    assert verdicts(a_document(one, eight), "P6") == [None, False]


@pytest.mark.parametrize(
    ("run", "holds"),
    [
        (beyond_peak(950.0, 2_090, 80.0), [True, True]),
        (beyond_peak(950.0, 2_090, 101.0), [True, False]),  # told too late
        (beyond_peak(950.0, 0, 0.0), [True, False]),  # not told: everybody waits
        (beyond_peak(800.0, 2_300, 80.0), [False, True]),
    ],
)
def test_beyond_the_peak_the_excess_is_told_at_once_and_the_rest_is_served(
    run: dict[str, Any], holds: list[bool]
) -> None:
    assert verdicts(a_document(run), "P8") == [None, *holds]


def test_relay_and_consumer_must_not_fall_behind() -> None:
    behind = a_run("drain", "cluster", 1_000.0, load="behind", answered_s=1.0, drained_s=2.1)
    beside = a_run("drain", "cluster", 1_000.0, load="beside", handled_meanwhile=1_000, answered_s=1.0, drained_s=1.0)
    assert verdicts(a_document(behind, beside), "P7") == [False, True]
    behind["drained_s"] = 1.9
    assert verdicts(a_document(behind, beside), "P7") == [True, True]
