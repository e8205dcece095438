"""Units that turn out unsold serve those who wait, else they go back to the ledger, whatever the store does."""

import asyncio

import pytest

from stockd.engine import SKUS_PER_LOOK
from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED, Parts, verdicts
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
@pytest.mark.parametrize("sold", [0, 1, 2, 3])
async def test_what_is_not_sold_goes_back(sold: int) -> None:
    parts = Parts()
    parts.store.create("a", 5)
    await parts.sell(await parts.reserve({"a": 3}), {"a": sold} if sold else {})
    await let_run()
    assert parts.store.available("a") == 5 - sold
    parts.check_quiet()


@in_virtual_time
async def test_what_somebody_waits_for_does_not_go_back() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    first = await parts.reserve({"a": 3})
    second = parts.reserving({"a": 3})
    await let_run()
    await parts.sell(first, {})
    assert (await second).verdicts == [GRANTED]
    assert [take.count for _, take in parts.store.sent if take.count < 0] == []


@in_virtual_time
async def test_they_go_back_when_the_store_is_back() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    reservation = await parts.reserve({"a": 3})
    parts.store.away = True
    await parts.sell(reservation, {})
    await asyncio.sleep(60)
    assert parts.engine.units_free() == 3
    parts.store.away = False
    await asyncio.sleep(1)
    parts.check_quiet()


@in_virtual_time
async def test_with_the_store_away_they_are_sold() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    reservation = await parts.reserve({"a": 3})
    parts.store.away = True
    await parts.sell(reservation, {})
    await asyncio.sleep(60)
    assert (await parts.reserve({"a": 2})).verdicts == [GRANTED]


@in_virtual_time
async def test_an_order_that_arrives_while_a_give_back_fails_is_served_by_those_units() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    reservation = await parts.reserve({"a": 3})
    parts.store.fates.append(Fate.AWAY)
    parts.store.answering.clear()
    await parts.sell(reservation, {})
    await let_run()
    waiting = parts.reserving({"a": 2})
    await let_run()
    parts.store.answering.set()
    await asyncio.wait([waiting])
    assert verdicts(waiting) == [GRANTED]


@in_virtual_time
async def test_draining_returns_them_and_decides_what_is_open() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    await parts.reserve({"a": 1})
    await parts.sell(await parts.reserve({"a": 1}), {})
    await parts.engine.drain(10)
    parts.check_quiet()


@in_virtual_time
async def test_draining_ends_with_its_limit_when_the_journal_is_away() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    await parts.reserve({"a": 1})
    parts.journal.away = True
    async with asyncio.timeout(11):
        await parts.engine.drain(10)
    assert parts.engine.open_reservations() == 1


@in_virtual_time
@pytest.mark.parametrize("draining", [False, True])
async def test_those_of_more_skus_than_are_looked_at_in_one_go_all_return(draining: bool) -> None:
    parts = Parts()
    skus = [f"sku-{number}" for number in range(SKUS_PER_LOOK + 500)]
    for sku in skus:
        parts.store.create(sku, 1)
    for sku in skus:
        await parts.sell(await parts.reserve({sku: 1}), {})
    if draining:
        await parts.engine.drain(60)
    else:
        async with parts.housekeeping():
            await asyncio.sleep(60)
    parts.check_quiet()
