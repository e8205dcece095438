"""Latencies keep three digits whatever their size, and those of several processes can be joined."""

import pytest

from bench.latencies import Latencies


def test_percentiles_of_a_hundred_latencies_are_those_latencies() -> None:
    latencies = Latencies()
    for millisecond in range(1, 101):
        latencies.add_s(millisecond / 1000)
    found = latencies.in_ms()
    assert [found[name] for name in ("mean", "p50", "p95", "p99", "max")] == pytest.approx(
        [50.5, 50, 95, 99, 100], rel=1e-3
    )


def test_none_have_no_percentiles() -> None:
    assert set(Latencies().in_ms().values()) == {None}


def test_what_two_processes_saw_is_as_if_one_had() -> None:
    halves = [Latencies(), Latencies()]
    for number in range(200):
        halves[number % 2].add_s((number + 1) / 1000)
    joined = Latencies.joined([half.encoded() for half in halves])
    assert joined.count == 200
    assert joined.in_ms()["p50"] == pytest.approx(100, rel=1e-3)


def test_a_latency_beyond_the_scale_counts_as_the_highest() -> None:
    latencies = Latencies()
    latencies.add_s(10_000)
    assert latencies.in_ms()["max"] == pytest.approx(120_000, rel=1e-3)
