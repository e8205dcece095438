"""What a server that is gone sold and did not count is found and put right, however often and by whomever."""

from uuid import UUID

import pytest

from sluice.counting import counted_by
from sluice.model import StockPolicy
from sluice.seams.stock_store import ALL_CELLS, Cell
from stockd.counter_repair import CounterDrift, counter_drift, repair_counter
from stockd.reclaim import HeldRow, fold, preview
from tests.unit.fake_journal import FakeJournal
from tests.unit.fake_stock_store import FakeStockStore

GONE, LIVING = UUID(int=1), UUID(int=2)
SKU = "coat"


class Parts:
    """Two servers have sold 10 units each. GONE had counted 7 of them when it died, LIVING has counted 9."""

    def __init__(self) -> None:
        self.store = FakeStockStore()
        self.store.create(SKU, 30, StockPolicy.COUNTER)
        self.store.added[SKU] = {Cell(GONE, 0): 7, Cell(LIVING, 0): 9}
        self.journal = FakeJournal()
        self.journal.registered = {GONE: True, LIVING: False}
        for incarnation in (GONE, LIVING):
            self.journal.spends[incarnation, 1] = {SKU: 10}

    async def repair(self) -> CounterDrift:
        return await repair_counter(SKU, self.journal, self.store)  # type: ignore[arg-type]  # what it uses of one

    def counted(self) -> dict[UUID, int]:
        return counted_by(self.store.counts_now(SKU))


@pytest.fixture
def parts() -> Parts:
    return Parts()


async def test_looking_shows_the_drift_and_changes_nothing(parts: Parts) -> None:
    found = await counter_drift(SKU, parts.journal, parts.store)  # type: ignore[arg-type]  # as above
    assert found == CounterDrift(gone={GONE: -3}, living={LIVING: -1}, final={GONE: 10})
    assert parts.counted() == {GONE: 7, LIVING: 9}


async def test_the_gone_are_put_right_and_the_living_left_alone(parts: Parts) -> None:
    await parts.repair()
    assert parts.counted() == {GONE: 10, LIVING: 9}


async def test_a_second_repair_finds_nothing_and_changes_nothing(parts: Parts) -> None:
    await parts.repair()
    assert await parts.repair() == CounterDrift(gone={}, living={LIVING: -1}, final={})
    assert parts.counted() == {GONE: 10, LIVING: 9}


async def test_an_addition_that_lands_after_the_repair_is_not_looked_at(parts: Parts) -> None:
    await parts.repair()
    await parts.store.add_sold(SKU, Cell(GONE, 0), 3)
    assert parts.counted() == {GONE: 10, LIVING: 9}


async def test_who_was_never_registered_cannot_have_sold(parts: Parts) -> None:
    del parts.journal.registered[GONE]
    del parts.journal.spends[GONE, 1]
    assert (await parts.repair()).gone == {GONE: 7}
    assert parts.counted() == {GONE: 0, LIVING: 9}


async def test_units_returned_through_a_server_may_make_its_sales_negative(parts: Parts) -> None:
    parts.journal.spends[GONE, 2] = {SKU: -14}
    await parts.repair()
    assert parts.counted() == {GONE: -4, LIVING: 9}


async def test_whoever_reclaims_a_server_puts_it_right_too(parts: Parts) -> None:
    for _ in range(2):
        returned = [each async for each in fold([HeldRow(GONE, SKU, 10)], parts.store)]
        assert [each.units for each in returned] == [0]
        assert parts.counted() == {GONE: 10, LIVING: 9}
    assert parts.store.closed[SKU] == {Cell(GONE, ALL_CELLS): 10}


async def test_a_server_that_never_began_to_sell_leaves_nothing(parts: Parts) -> None:
    del parts.store.added[SKU][Cell(GONE, 0)]
    assert [each.units async for each in fold([HeldRow(GONE, SKU, 0)], parts.store)] == [0]
    assert parts.store.closed.get(SKU, {}) == {}


async def test_units_that_came_back_to_a_server_that_never_began_to_sell_are_found(parts: Parts) -> None:
    del parts.store.added[SKU][Cell(GONE, 0)]
    assert [each.units async for each in preview([HeldRow(GONE, SKU, -4)], parts.store)] == [0]
    assert [each.units async for each in fold([HeldRow(GONE, SKU, -4)], parts.store)] == [0]
    assert parts.counted() == {GONE: -4, LIVING: 9}
