"""A stock server tells gateways how SKUs are spread, asks for help while it is busy, and leaves others their share."""

import asyncio

import pytest

from sluice.model import StockPolicy
from stockd.taking import AVAILABLE_STALE_S, OWNERS_STALE_S
from tests.unit.stock_engine.parts import GRANTED, Parts
from tests.unit.virtual_time import in_virtual_time


@pytest.mark.parametrize("policy", [StockPolicy.EXACT, StockPolicy.ESCROW])
@in_virtual_time
async def test_what_the_ledger_says_is_told_and_followed_when_it_changes(policy: StockPolicy) -> None:
    parts = Parts()
    parts.store.create("hot", 10_000, policy)
    parts.store.create("calm", 10_000)
    parts.store.owners["hot"] = 3
    reservation = await parts.reserve({"calm": 1}, {"hot": 1})
    assert (list(reservation.verdicts), list(reservation.owners)) == ([GRANTED, GRANTED], [1, 3])
    assert (await parts.reserve({"calm": 1})).owners == ()
    parts.store.owners["hot"] = 1
    await asyncio.sleep(AVAILABLE_STALE_S if policy is StockPolicy.ESCROW else OWNERS_STALE_S)
    await parts.reserve({"hot": 500})  # more than is in memory: it looks
    assert (await parts.reserve({"hot": 1})).owners == ()


@in_virtual_time
async def test_a_busy_server_with_one_hot_sku_asks_for_help_until_it_is_calm() -> None:
    parts = Parts()
    parts.store.create("hot", 1_000_000, StockPolicy.ESCROW)
    parts.engine._spreading.know_servers(3)
    for _ in range(3):
        await parts.reserve({"hot": 100})
        await parts.engine.spread(busy=0.99)
    assert list((await parts.reserve({"hot": 1})).owners) == [2]
    await asyncio.sleep(10)  # nobody wants it any more
    await parts.engine.spread(busy=0.01)
    assert (await parts.reserve({"hot": 1})).owners == ()


@in_virtual_time
async def test_it_measures_how_busy_it_is() -> None:
    parts = Parts()
    parts.store.create("hot", 1_000_000, StockPolicy.ESCROW)
    parts.journal.registered.clear()  # its own is not found fenced, and three are not known
    async with parts.housekeeping():
        for _ in range(12):
            parts.engine._spreading.know_servers(2)
            await parts.reserve({"hot": 100})
            parts.computed_s += 0.25
            await asyncio.sleep(0.25)
        parts.engine._spreading.know_servers(2)
        assert list((await parts.reserve({"hot": 1})).owners) == [2]


@in_virtual_time
async def test_escrow_beyond_its_share_goes_back_as_soon_as_others_have_emptied_the_ledger() -> None:
    parts = Parts()
    parts.store.create("hot", 100_000, StockPolicy.ESCROW)
    parts.store.owners["hot"] = 2
    async with parts.housekeeping():
        for _ in range(20):
            reservation = await parts.reserve({"hot": 100})
            await parts.sell(reservation, {"hot": 100})
            await asyncio.sleep(0.1)
        held = parts.engine.units_free()
        assert held > 500
        # Another owner takes all that is left, and this one's demand goes on.
        ledger = parts.store.skus["hot"]
        others = ledger.available
        ledger.available -= others
        for _ in range(20):
            reservation = await parts.reserve({"hot": 1})
            await parts.sell(reservation, {"hot": 1})
            await asyncio.sleep(0.1)
        assert ledger.available >= held / 2
        ledger.available += others
