"""An addition is sent once. Whatever became of it, its cell is closed with what it should hold, and nothing drifts."""

import asyncio

import pytest

from sluice.seams.stock_store import ALL_CELLS, Cell
from tests.unit.counter_engine.shop import Shop
from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED, LEDGER_UNREACHABLE
from tests.unit.virtual_time import in_virtual_time, let_run

UNKNOWN = [Fate.APPLIED_UNHEARD, Fate.LOST_UNHEARD, Fate.LATE_UNHEARD]


async def _sell_three(shop: Shop) -> None:
    await shop.sell(await shop.reserve(0, {"a": 3}), {"a": 3})


@in_virtual_time
@pytest.mark.parametrize("fate", UNKNOWN)
async def test_it_counts_once_whatever_became_of_it(fate: Fate) -> None:
    shop = Shop()
    shop.create("a", 20)
    await _sell_three(shop)
    await asyncio.sleep(1)
    await _sell_three(shop)
    shop.store.fates.append(fate)
    await asyncio.sleep(1)
    await _sell_three(shop)
    await asyncio.sleep(1)
    if shop.store.late_additions:
        shop.store.land_addition()
    assert [units for _, _, units in shop.store.additions] == [0, 3, 3, 3]
    assert shop.counted("a") == shop.sold("a") == 9
    incarnation = shop.engines[0].incarnation
    assert shop.store.closed["a"] == {Cell(incarnation, 0): 6}


@in_virtual_time
async def test_one_that_was_not_sent_is_made_again() -> None:
    shop = Shop()
    shop.create("a", 20)
    await _sell_three(shop)
    shop.store.fates.append(Fate.AWAY)
    await asyncio.sleep(1)
    assert shop.counted("a") == 3
    assert shop.store.closed.get("a", {}) == {}


@in_virtual_time
@pytest.mark.parametrize("fate", UNKNOWN)
async def test_making_the_first_cell_may_be_repeated(fate: Fate) -> None:
    shop = Shop()
    shop.create("a", 20)
    shop.store.fates.append(fate)
    assert (await shop.reserve(0, {"a": 1})).verdicts == [LEDGER_UNREACHABLE]
    assert (await shop.reserve(0, {"a": 1})).verdicts == [GRANTED]


@in_virtual_time
async def test_twenty_in_a_row_leave_no_drift() -> None:
    shop = Shop()
    shop.create("a", 100)
    await _sell_three(shop)
    await asyncio.sleep(1)
    for number in range(20):
        shop.store.fates.append(UNKNOWN[number % len(UNKNOWN)])
        await _sell_three(shop)
        await asyncio.sleep(1)
    while shop.store.late_additions:
        shop.store.land_addition()
    assert shop.counted("a") == shop.sold("a") == 63


@in_virtual_time
async def test_while_its_cell_cannot_be_closed_nothing_more_is_added() -> None:
    shop = Shop()
    shop.create("a", 100)
    await _sell_three(shop)
    shop.store.fates.append(Fate.LOST_UNHEARD)
    await asyncio.sleep(0.15)
    shop.store.away = True
    await _sell_three(shop)
    await asyncio.sleep(5)
    assert [units for _, _, units in shop.store.additions] == [0, 3]
    shop.store.away = False
    await asyncio.sleep(1)
    assert shop.counted("a") == 6


@in_virtual_time
async def test_a_server_that_finds_its_sales_stated_by_another_knows_that_it_is_fenced() -> None:
    shop = Shop()
    shop.create("a", 100)
    await _sell_three(shop)
    shop.fence(0)
    await shop.reclaim(0)
    await asyncio.sleep(1)
    await let_run()
    assert shop.store.closed["a"] == {Cell(shop.engines[0].incarnation, ALL_CELLS): 3}
    with pytest.raises(Exception, match="fenced"):
        await shop.reserve(0, {"a": 1})
