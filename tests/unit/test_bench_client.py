"""The client's figures: ratios are to the batches of the same repetition, CPU is shared out over accepted orders."""

from typing import Any

import pytest

from bench.client import BY_HAND, WAYS, describe, summarise


def run(way: str, orders_per_s: float) -> dict[str, Any]:
    return {
        "system": "cluster",
        "way": way,
        "accepted": 1_000,
        "orders_per_s": orders_per_s,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "cpu_s": {"client": 0.005, "gateway-0": 0.009, "stockd-0": 0.002, "stockd-1": 0.001, "postgres": 1.0},
    }


def test_each_repetition_is_compared_with_its_own() -> None:
    by_hand, halved = [100.0, 10.0, 40.0], [50.0, 6.0, 20.0]
    runs = []
    for first, second in zip(by_hand, halved, strict=True):
        runs += [run(way, first if way == BY_HAND else second) for way in WAYS]
    rows = {row.way: row for row in summarise(runs)}
    assert rows[BY_HAND].ratio == (1.0, 1.0, 1.0)
    for way in set(WAYS) - {BY_HAND}:
        row = rows[way]
        assert row.ratio == (0.5, 0.5, 0.6)
        assert row.client_us.middle == pytest.approx(5.0)
        assert row.selling_us.middle == pytest.approx(12.0)
        assert "ratio 0.50 (0.50 to 0.60)" in describe(row)
