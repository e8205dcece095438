"""What the plan calls tightest is saturated first when it is played, and an enormous load is played in seconds."""

import time
from dataclasses import replace

import pytest

from capacity.limits import BROKERS, CONSUMERS, GATEWAYS, JOURNALS, RELAYS, STOCKDS
from capacity.load import Load
from capacity.planning import plan
from capacity.simulation import simulate
from tests.unit.capacity.made_up import SLOPES, dear

FIVE_MILLION_LIMIT_S = 60.0


SAME = {
    GATEWAYS: {GATEWAYS},
    STOCKDS: {STOCKDS, "owners of the hottest SKU"},
    RELAYS: {JOURNALS, RELAYS},
    BROKERS: {BROKERS},
}
"""One relay is part of a PostgreSQL shard; owners of a SKU are stock servers."""


@pytest.mark.parametrize(
    ("part", "station"),
    [("gateway", GATEWAYS), ("stockd", STOCKDS), ("relay", RELAYS), ("kafka", BROKERS)],
)
def test_what_is_tightest_is_saturated_first(part: str, station: str) -> None:
    slopes = dear(part)
    planned = plan(Load(60_000, skus=1, hottest_share=1.0, journal_days=0, log_days=0, cores=2), slopes)
    tightest = planned.tightest
    first = simulate(planned, slopes, seed=1).first
    assert first is not None
    assert {tightest.part, first.name} <= SAME[station]


def test_a_planned_load_saturates_nothing() -> None:
    planned = plan(Load(100_000), SLOPES)
    played = simulate(planned, SLOPES, seed=1, factors=(1.0,))
    assert played.first is None
    (step,) = played.steps
    assert step.answered_per_s == pytest.approx(100_000, rel=0.05)


def test_far_above_the_plan_something_is_saturated() -> None:
    planned = plan(Load(100_000), SLOPES)
    played = simulate(planned, SLOPES, seed=1, factors=(8.0,))
    assert played.first is not None
    assert played.steps[-1].answered_per_s < 0.9 * 800_000


def test_queues_make_batches_larger() -> None:
    planned = plan(Load(20_000, skus=1, hottest_share=1.0, stream_batch=0), SLOPES)
    played = simulate(planned, SLOPES, seed=1)
    assert played.steps[-1].orders_per_group > 2 * played.steps[0].orders_per_group


def test_the_same_seed_plays_the_same() -> None:
    planned = plan(Load(50_000), SLOPES)
    assert simulate(planned, SLOPES, 7, (1.0,)) == simulate(planned, SLOPES, 7, (1.0,))
    assert simulate(planned, SLOPES, 7, (1.0,)) != simulate(planned, SLOPES, 8, (1.0,))


def test_five_million_orders_a_second_are_played_in_under_a_minute() -> None:
    planned = plan(Load(5_000_000, hottest_share=0.001), SLOPES)
    started = time.process_time()
    played = simulate(planned, SLOPES, seed=1)
    assert time.process_time() - started < FIVE_MILLION_LIMIT_S
    assert played.first is not None


def test_a_consumer_that_is_slow_is_saturated() -> None:
    slopes = replace(SLOPES, consumer_us_per_event=60, consumer_events_per_s=10_000_000)
    planned = plan(Load(60_000, skus=1, hottest_share=1.0, journal_days=0), slopes)
    first = simulate(planned, slopes, seed=1).first
    assert first is not None
    assert planned.tightest.part == first.name == CONSUMERS
