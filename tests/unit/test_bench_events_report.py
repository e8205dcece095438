"""The page about events says what the figures say, and says so when they are worth nothing."""

import json
from typing import Any

import pytest

from bench.events.report import FIGURES, PAGE, batch_gain, goals, lanes_gain, render

LATENCY = {"mean": 2.0, "p50": 1.0, "p95": 3.0, "p99": 4.0}


def a_flood(rate: float, **more: Any) -> dict[str, Any]:
    costs = {"client_us_per_message": 3.0, "broker_us_per_message": 2.0, "bytes_per_message": 90.0}
    return {"messages_per_s": rate, "messages_per_request": 100.0, **costs, **more}


def an_entry(figures: dict[str, Any]) -> dict[str, Any]:
    machine = {
        "cpu": "a CPU",
        "cores": 2,
        "python": "CPython 3.11",
        "packages": {"confluent-kafka": "2.16.1"},
        "load_average_before": 0.1,
    }
    return {"started": "2026-11-27T00:00:00+00:00", "machine": machine, "took_s": 10.0, "figures": figures}


def a_consumer(rate: float, highest_mib: float) -> dict[str, Any]:
    rss = [[0.0, 100.0], [1.0, highest_mib], [2.0, 120.0]]
    return {
        "events_per_s": rate / 2,
        "later_events_per_s": rate,
        "events": 1_000_000,
        "finished": True,
        "cpu_s": {"kafka": 1.0},
        "rss_mib": rss,
    }


def a_document() -> dict[str, Any]:
    lone = a_flood(1_000.0, latency_ms=LATENCY)
    del lone["bytes_per_message"]
    steady = {"rate_per_s": 5_000, "latency_ms": LATENCY, "broker_us_per_message": 9.0}
    lanes = {
        "one at a time": {"events_per_s": 450.0, "events_per_call": 1.0},
        "16 lanes, a call for each event": {"events_per_s": 6_000.0, "events_per_call": 1.0},
        "16 lanes, a call for each batch": {"events_per_s": 90_000.0, "events_per_call": 300.0},
    }
    member = {
        "events": 8_000,
        "longest_delay_joining_ms": 50.0,
        "longest_delay_leaving_ms": 60.0,
        "late_partitions": 0,
        "late_events": 0,
    }
    growth = {
        "to_partitions": 32,
        "accepted": 40_000,
        "refused": {},
        "move_s": 2.5,
        "longest_delay_before_s": 0.2,
        "longest_delay_growing_s": 1.4,
    }
    skew = {"skew_before": 2.5, "skew_after": 1.1, "hottest_sku": 1.0}
    return {
        "partitions": an_entry(
            {
                "one_at_a_time": {"1": lone, "10": lone},
                "flood": {"relay's settings": {"1": a_flood(200_000.0), "10": a_flood(150_000.0)}},
                "steady": {"relay's settings": {"1": steady, "10": steady}},
            }
        ),
        "batching": an_entry(
            {
                "partitions": 16,
                "one_at_a_time": lone,
                "batched": {"none": a_flood(90_000.0), "lz4": a_flood(120_000.0)},
                "lingers": {"5": a_flood(100_000.0)},
            }
        ),
        "lanes": an_entry({"sink_ms": 2.0, "keys": 2_000, "partitions": 16, "runs": lanes}),
        "rebalance": an_entry(
            {"partitions": 16, "rate_per_s": 2_000, "late_ms": 250.0, "memberships": {"runtime, consumer": member}}
        ),
        "replication": an_entry(
            {
                copies: {"8": {"flood": a_flood(rate), "one_at_a_time": lone}}
                for copies, rate in (("1", 200_000.0), ("3", 50_000.0))
            }
        ),
        "flood": an_entry(
            {
                "orders": 1_000_000,
                "skus": 100,
                "accepted": {"orders_per_s": 40_000.0, "accepted": 1_000_000},
                "relayed": {
                    "events_per_s": 120_000.0,
                    "events": 2_000_000,
                    "cpu_s": {"relay": 9.0},
                    "highest_rss_mib": 90.0,
                },
                "consumers": {"projection": a_consumer(60_000.0, 150.0), "lifecycle": a_consumer(9_000.0, 160.0)},
            }
        ),
        "moving": an_entry({"skus": 1_000, "orders_per_s": 2_000, "skew": skew, "growth": growth}),
    }


def by_promise(document: dict[str, Any], words: str) -> Any:
    (goal,) = [goal for goal in goals(document) if words in goal.promise]
    return goal


def test_all_promises_hold_where_every_figure_is_good() -> None:
    found = goals(a_document())
    assert len(found) == 6
    assert all(goal.holds for goal in found)


def test_gains_are_of_what_ran_in_the_same_run() -> None:
    document = a_document()
    assert batch_gain(document["batching"]["figures"]) == pytest.approx(120.0)
    assert lanes_gain(document["lanes"]["figures"]) == pytest.approx(6_000 / 450)


def test_a_batch_without_compression_is_not_the_remedy_that_is_promised() -> None:
    document = a_document()
    document["batching"]["figures"]["batched"]["lz4"]["messages_per_s"] = 9_000.0
    assert not by_promise(document, "batches with compression").holds


def test_the_relay_may_be_slower_than_its_goal_where_it_still_leaves_the_gateway_behind() -> None:
    document = a_document()
    flood = document["flood"]["figures"]
    flood["relayed"]["events_per_s"] = 95_000.0
    assert not by_promise(document, "relay").holds
    flood["accepted"]["orders_per_s"] = 39_000.0
    assert by_promise(document, "relay").holds
    flood["accepted"]["orders_per_s"] = 80_000.0
    assert not by_promise(document, "relay").holds
    flood["relayed"]["events_per_s"] = 150_000.0
    assert by_promise(document, "relay").holds


def test_the_projection_is_held_against_the_events_of_its_own_topic() -> None:
    document = a_document()
    document["flood"]["figures"]["consumers"]["projection"]["later_events_per_s"] = 47_000.0
    assert not by_promise(document, "projection").holds


def test_memory_is_that_of_the_highest_moment_in_megabytes() -> None:
    document = a_document()
    document["flood"]["figures"]["consumers"]["lifecycle"]["rss_mib"][1][1] = 191.0  # 200.3 MB
    goal = by_promise(document, "stays below")
    assert not goal.holds
    assert "lifecycle 200 MB" in goal.measured


def test_an_event_that_is_late_while_a_topic_grows_breaks_the_promise() -> None:
    document = a_document()
    document["moving"]["figures"]["growth"]["longest_delay_growing_s"] = 3.01
    assert not by_promise(document, "growth").holds
    assert "**no**" in render(document)


def test_the_page_warns_of_a_busy_machine_and_names_the_parts() -> None:
    document = a_document()
    assert "not quiet" not in render(document)
    document["lanes"]["machine"]["load_average_before"] = 3.0
    assert "lanes 3.0" in render(document)


def test_what_was_not_measured_is_named_and_no_promise_is_made_of_it() -> None:
    document = a_document()
    del document["moving"]
    page = render(document)
    assert "Not measured: slots that move" in page
    assert not [goal for goal in goals(document) if "growth" in goal.promise]


def test_the_page_shows_the_figures_that_are_kept() -> None:
    assert render(json.loads(FIGURES.read_text())) == PAGE.read_text()
