"""History as stretches: what is written twice, or late, or in other pieces, says the same and hides nothing."""

import random
from uuid import uuid4

import pytest

from sluice.seams.stock_projection import SkuChanges, StockChange
from stockd.stores.stock_stretches import CHANGES_PER_PARTITION, CHANGES_PER_STRETCH, Stretch, stretches

JOURNAL = uuid4()
TIMES = random.Random(7)


def history(first: int, length: int) -> SkuChanges:
    """Times do not rise: each gateway has a clock of its own."""
    ordinals = range(first, first + length)
    times_ms = [1_000_000 + n + TIMES.randrange(-50, 50) for n in ordinals]
    return SkuChanges(
        "teapot", JOURNAL, first, [-n for n in ordinals], [f"order-{n}" for n in ordinals], [1] * length, times_ms
    )


def part(changes: SkuChanges, start: int, end: int) -> SkuChanges:
    sku, journal, first, *lists = changes
    return SkuChanges(sku, journal, first + start, *(each[start:end] for each in lists))


def read(stretch: Stretch) -> list[StockChange]:
    return list(SkuChanges(stretch.sku, stretch.journal, stretch.change, *stretch[4:8]).one_by_one())


def test_the_changes_of_a_sku_are_one_row() -> None:
    log = history(100, 300)
    (stretch,) = stretches([log])
    assert read(stretch) == list(log.one_by_one())
    assert (stretch.part, stretch.change) == (0, 100)


def test_skus_and_journals_are_apart() -> None:
    log = history(0, 3)
    found = stretches([log, log._replace(sku="cup"), log._replace(journal=uuid4())])
    assert len({(each.sku, each.journal) for each in found}) == 3


@pytest.mark.parametrize("first", [0, 1, 9_999, 10_000, 12_345])
def test_a_row_has_a_bound_and_lies_in_one_partition(first: int) -> None:
    log = history(first, CHANGES_PER_PARTITION + 500)
    found = list(stretches([log]))
    assert [change for each in found for change in read(each)] == list(log.one_by_one())
    assert max(len(each.deltas) for each in found) == CHANGES_PER_STRETCH
    for each in found:
        assert {change.ordinal // CHANGES_PER_PARTITION for change in read(each)} == {each.part}


@pytest.mark.parametrize("days", [1, -1])
def test_changes_of_another_day_are_not_kept_with_those_of_today(days: int) -> None:
    log = history(0, 4)
    times_ms = [each + (days * 86_400_000 if n >= 2 else 0) for n, each in enumerate(log.times_ms)]
    assert [each.change for each in stretches([log._replace(times_ms=times_ms)])] == [0, 2]


@pytest.mark.parametrize("seed", range(50))
def test_of_two_that_begin_together_the_longer_has_the_higher_timestamp(seed: int) -> None:
    log = history(0, 400)
    draw = random.Random(seed)
    first = draw.randrange(300)
    shorter, longer = sorted(draw.sample(range(first + 1, 401), 2))
    (short,), (long) = stretches([part(log, first, shorter)]), next(stretches([part(log, first, longer)]))
    assert short.change == long.change
    assert short.timestamp < long.timestamp
    (again,) = stretches([part(log, first, shorter)])
    assert again == short
