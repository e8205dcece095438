"""History as stretches: what is written twice, or late, or in other pieces, says the same and hides nothing."""

import random
from uuid import uuid4

import pytest

from sluice.seams.stock_projection import StockChange
from stockd.stores.stock_stretches import CHANGES_PER_PARTITION, CHANGES_PER_STRETCH, Stretch, changes_of, stretches

JOURNAL = uuid4()
TIMES = random.Random(7)


def history(length: int) -> list[StockChange]:
    """Times do not rise: each gateway has a clock of its own."""
    return [
        StockChange("teapot", JOURNAL, n, -1, f"order-{n}", 1, 1_000_000 + n + TIMES.randrange(-50, 50))
        for n in range(length)
    ]


def read(stretch: Stretch) -> list[StockChange]:
    return list(changes_of(stretch.sku, stretch.journal, stretch.change, *stretch[4:8]))


def test_the_changes_of_a_sku_are_one_row() -> None:
    log = history(300)
    (stretch,) = stretches(log)
    assert read(stretch) == log
    assert (stretch.part, stretch.change) == (0, 0)


def test_skus_and_journals_are_apart() -> None:
    log = history(3)
    others = [log[0]._replace(sku="cup"), log[1]._replace(journal=uuid4())]
    assert len(list(stretches([log[0], others[0], log[1], others[1], log[2]]))) == 3


def test_a_row_has_a_bound_and_lies_in_one_partition() -> None:
    log = history(CHANGES_PER_PARTITION + 500)
    found = list(stretches(log))
    assert [change for each in found for change in read(each)] == log
    assert max(len(each.deltas) for each in found) == CHANGES_PER_STRETCH
    for each in found:
        assert {change.ordinal // CHANGES_PER_PARTITION for change in read(each)} == {each.part}


def test_a_gap_is_not_bridged() -> None:
    log = history(10)
    assert [each.change for each in stretches(log[:4] + log[6:])] == [0, 6]


def test_changes_of_another_day_are_not_kept_with_those_of_today() -> None:
    log = history(4)
    late = [each._replace(time_ms=each.time_ms + 86_400_000) for each in log[2:]]
    assert [each.change for each in stretches(log[:2] + late)] == [0, 2]


@pytest.mark.parametrize("seed", range(50))
def test_of_two_that_begin_together_the_longer_has_the_higher_timestamp(seed: int) -> None:
    log = history(400)
    draw = random.Random(seed)
    first = draw.randrange(300)
    shorter, longer = sorted(draw.sample(range(first + 1, 401), 2))
    (short,), (long) = stretches(log[first:shorter]), next(stretches(log[first:longer]))
    assert short.change == long.change
    assert short.timestamp < long.timestamp
    (again,) = stretches(log[first:shorter])
    assert again == short
