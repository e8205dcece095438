"""The performance page says what the figures say, and says so when they are worth nothing."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from bench.earlier_goals import goals
from bench.report.page import render
from bench.report.readme import with_figures
from bench.report.selecting import cpu_us_per_order, highest_memory, split_by_part
from bench.running import unexpected

LATENCY = {"p50": 10.0, "p95": 20.0, "p99": 30.0}


def a_run(kind: str, system: str, rate: float, repetition: int, **more: Any) -> dict[str, Any]:
    accepted = int(rate * 2)
    cpu_s = {"gateway-0" if system == "cluster" else system: 1.0, "client": 0.5, "others": 0.1}
    return {
        "kind": kind,
        "system": system,
        "repetition": repetition,
        "accepted": accepted,
        "refused": {},
        "elapsed_s": 2.0,
        "orders_per_s": rate,
        "latency_ms": LATENCY,
        "cpu_s": cpu_s,
        "cpu_until_answered_s": cpu_s,
        "threads_s": {system: {"loop": 0.8, "python": 0.1, "event_engine": 0.1}},
        "drain_s": 1.0,
        "conditional_writes": accepted // 1_000,
        "highest_rss_mib": {system: 90.0 + repetition, "client": 200.0},
        **more,
    }


def a_document() -> dict[str, Any]:
    runs = []
    for repetition, noise in enumerate((1.0, 0.9, 1.1)):
        for system, rate in (("noop", 8_000), ("embedded", 6_000), ("cluster", 4_800)):
            runs.append(a_run("unary", system, rate * noise, repetition, load="hot", in_flight=128))
        for kind, rates in (("postgresql", {2: 150_000, 3: 180_000}), ("sqlite", {2: 100_000})):
            runs += [a_run("journal", kind, rate * noise, repetition, loops=loops) for loops, rate in rates.items()]
        for system, hot in (("embedded", 60_000), ("cluster", 90_000)):
            runs.append(a_run("stream", system, hot * noise, repetition, load="hot"))
            runs.append(a_run("stream", system, hot * noise, repetition, load="some"))
            if system == "cluster":
                runs += [
                    a_run("stream", system, hot * noise, repetition, load=load) for load in ("accept", "exact", "many")
                ]
    soak = {"kind": "soak", "system": "cluster", "accepted": 9, "refused": {}, "orders_per_s": 9.0}
    return {
        "started": "2026-11-21T00:00:00+00:00",
        "plan": {"repetitions": 3, "concurrencies": [128], "unary_reference": 128},
        "machine": {
            "cpu": "a CPU",
            "cores": 2,
            "memory_gib": 24.0,
            "system": "Linux",
            "python": "CPython 3.11",
            "packages": {"grpcio": "1.83.2"},
            "load_average_before": 0.1,
            "synced_write_ms": 0.2,
        },
        "servers": {"postgresql": {"fsync": "on"}, "kafka": {"acks": "all"}},
        "runs": runs,
        "profiles": [{"system": "cluster", "load": "stream", "samples": {"cluster": {"gRPC": 30, "protobuf": 10}}}],
        "soak": {
            "minutes": 5.0,
            "rss_mib": {"gateway-0": [(float(second), 100.0) for second in range(300)]},
            "results": [soak, soak],
        },
        "audits": {"cluster": {"findings": [], "orders": 1_000, "skus": 1, "events": 2_000, "seconds": 1.0}},
    }


def by_promise(document: dict[str, Any], words: str) -> Any:
    (goal,) = [goal for goal in goals(document) if words in goal.promise]
    return goal


def test_all_promises_hold_where_every_figure_is_good() -> None:
    assert all(goal.holds for goal in goals(a_document()))


def test_a_ratio_is_of_things_that_ran_side_by_side() -> None:
    assert by_promise(a_document(), "unary PlaceOrder, cluster").measured == "0.60 (0.60 to 0.60)"


def test_a_stream_is_held_against_the_fastest_bare_journal() -> None:
    assert by_promise(a_document(), "stream, cluster, relay at work").measured == "0.50 (0.50 to 0.50)"


@pytest.mark.parametrize(
    ("words", "kind", "system", "slower"),
    [
        ("unary PlaceOrder, cluster", "unary", "cluster", 0.8),
        ("unary PlaceOrder, embedded", "unary", "embedded", 0.6),
        ("stream, cluster, relay at work", "stream", "cluster", 0.7),
        ("stream, embedded", "stream", "embedded", 0.6),
    ],
)
def test_a_promise_fails_when_its_rate_is_too_low(words: str, kind: str, system: str, slower: float) -> None:
    document = a_document()
    for run in document["runs"]:
        if run["kind"] == kind and run["system"] == system:
            run["orders_per_s"] *= slower
    assert not by_promise(document, words).holds
    assert "**no**" in render(document)


def test_what_is_missed_is_said_with_what_the_goal_leaves() -> None:
    document = a_document()
    page = render(document)
    # 4,800 calls/s in 2 s cost the gateway a second; 8,000 the no-op server, and the goal is 0.7 of its rate.
    assert "P2: a single call costs the no-op server 62 µs" in page
    assert "the gateway alone 104 µs of its core, the goal leaves 89" in page
    for run in document["runs"]:
        if run["kind"] == "unary" and run["system"] in ("embedded", "cluster"):
            run["orders_per_s"] = 8_000
    assert "P2: a single call" not in render(document), "it is not missed"


def test_a_hot_sku_is_not_praised_for_being_faster_than_refusals() -> None:
    document = a_document()
    for run in document["runs"]:
        if run.get("load") == "some" and run["system"] == "cluster":
            run["refused"] = {"STOCK_UNREACHABLE": run["accepted"]}
    goal = by_promise(document, "hot SKU, cluster: at least 0.8")
    assert not goal.holds
    assert "50%" in goal.measured


def test_memory_is_that_of_our_processes_at_its_highest() -> None:
    document = a_document()
    assert highest_memory(document)["cluster"] == 92.0
    assert "client" not in highest_memory(document)
    document["soak"]["rss_mib"]["gateway-0"][7] = (7.0, 151.0)
    assert not by_promise(document, "stays below").holds


def test_memory_of_a_flood_is_told_beside_it_and_breaks_no_promise() -> None:
    document = a_document()
    flood = a_run("flood", "embedded", 2_400, 0, offered_per_s=24_000.0, peak=6_000.0, share_of_peak=4.0)
    flood |= {
        "refused": {"OVERLOADED": 40_000, "STATUS_1": 9_000},
        "refused_latency_ms": {"p50": 500.0, "p99": 1_200.0},
    }
    flood["highest_rss_mib"] = {"embedded": 264.0, "client": 300.0}
    document["runs"] += [flood, a_run("at_rate", "embedded", 4_000, 0, **_open_loop(0.7))]
    assert by_promise(document, "stays below").holds
    row = "| embedded | 4.0 | 0.40 | 40,000 OVERLOADED, 9,000 STATUS_1 | 500 | 1,200 | 264 |"
    assert row in render(document)


def _open_loop(share: float) -> dict[str, Any]:
    return {"offered_per_s": 4_200.0, "share_of_peak": share, "refused_latency_ms": LATENCY, "late_ms": LATENCY}


def test_memory_that_grows_by_two_megabytes_a_minute_is_not_flat() -> None:
    document = a_document()
    document["soak"]["rss_mib"]["gateway-0"] = [(float(second), 100.0 + second / 30) for second in range(300)]
    assert not by_promise(document, "flat").holds


def test_a_load_generator_that_keeps_its_latencies_breaks_no_promise() -> None:
    document = a_document()
    document["soak"]["rss_mib"]["client"] = [(float(second), 100.0 + second) for second in range(300)]
    assert by_promise(document, "flat").holds
    assert by_promise(document, "stays below").holds


def test_cpu_is_shared_among_the_accepted_orders_and_like_processes_are_one() -> None:
    run = {"accepted": 1_000, "cpu_s": {"stockd-0": 0.003, "stockd-1": 0.002, "client": 0.001}}
    assert cpu_us_per_order([run]) == {"stockd": pytest.approx(5.0), "load generator": pytest.approx(1.0)}
    assert cpu_us_per_order([{"accepted": 0, "cpu_s": {"stockd-0": 1.0}}]) == {}


def test_the_parts_of_a_process_add_up_to_its_cpu() -> None:
    run = {"accepted": 1_000, "threads_s": {"gateway-0": {"loop": 0.008, "python": 0.001, "event_engine": 0.001}}}
    parts = split_by_part({"gRPC": 2, "journal": 1}, [run], ["gateway-0"])
    assert parts == {
        "gRPC": pytest.approx(6.0),
        "journal": pytest.approx(3.0),
        "gRPC, threads of its own": pytest.approx(1.0),
    }


def test_the_page_warns_of_a_busy_machine() -> None:
    document = a_document()
    assert "not quiet" not in render(document)
    document["machine"]["load_average_before"] = 3.0
    assert "not quiet" in render(document)


def test_a_profile_that_could_not_be_taken_is_said_not_invented() -> None:
    document = a_document()
    document["profiles"] = [{"system": "cluster", "load": "stream", "problem": "Permission denied"}]
    assert "No profile: Permission denied" in render(document)


def test_unexpected_answers_and_findings_make_a_run_unsound() -> None:
    document = a_document()
    assert unexpected(document) == []
    overloaded = deepcopy(document)
    overloaded["runs"][0]["refused"] = {"OVERLOADED": 3}
    assert unexpected(overloaded) == []
    for place, reason in ((("runs", 0), "INTERNAL"), (("soak", "results"), "DEADLINE_EXCEEDED")):
        broken = deepcopy(document)
        entry = broken["runs"][0] if place[0] == "runs" else broken["soak"]["results"][0]
        entry["refused"] = {reason: 1}
        assert reason in unexpected(broken)[0]
    document["audits"]["cluster"]["findings"] = ["I1: apple: oversold by 1"]
    assert "oversold" in unexpected(document)[0]


def test_the_readme_and_the_page_show_the_newest_run() -> None:
    root = Path(__file__).parents[2]
    newest = max((root / "bench" / "results").glob("2*.json"))
    document = json.loads(newest.read_text())
    readme = (root / "README.md").read_text()
    assert with_figures(readme, document) == readme
    assert render(document) == (root / "docs" / "performance.md").read_text()
