"""Units of orders that end are for sale again when the journal says so, once, whoever sold them."""

import asyncio
from uuid import UUID

import pytest

from sluice.errors import KeeperUnreachable
from sluice.seams.stock_keeper import Settlement
from stockd.engine import HOUSEKEEPING_INTERVAL_S
from tests.contract.stock_store.model import Fold, Take
from tests.unit.stock_engine.parts import GRACE_S, GRANTED, INCARNATION, OUT_OF_STOCK, Parts, verdicts
from tests.unit.virtual_time import in_virtual_time, let_run

OTHER = UUID(int=200)
AFTER_GRACE_S = GRACE_S + 2 * HOUSEKEEPING_INTERVAL_S


def sold_out(units: int) -> Parts:
    """Another server has sold everything."""
    parts = Parts()
    parts.store.create("a", units)
    parts.store.skus["a"].apply(Take(OTHER, None, units))
    parts.journal.spends[OTHER, 1] = {"a": units}
    return parts


async def end_orders(parts: Parts, key: tuple[UUID, int], returned: int) -> None:
    parts.journal.spends[key] = {"a": -returned} if returned else {}
    await parts.engine.settle([Settlement(*key, parts.journal.spends[key])], 1.0)


@in_virtual_time
async def test_they_are_not_for_sale_before_the_orders_have_ended() -> None:
    parts = sold_out(3)
    await parts.engine.reserve_return({"a": 2}, 0, 1.0)
    assert parts.engine.units_free() == 0
    assert (await parts.reserve({"a": 1})).verdicts == [OUT_OF_STOCK]  # after it has waited for them in vain


@in_virtual_time
async def test_who_waits_gets_them_as_soon_as_the_orders_have_ended() -> None:
    parts = sold_out(3)
    key = await parts.engine.reserve_return({"a": 2}, 0, 1.0)
    waiting = [parts.reserving({"a": 1}), parts.reserving({"a": 1})]
    await let_run()
    assert verdicts(*waiting) == [None, None]
    await end_orders(parts, key, 2)
    await let_run()
    assert verdicts(*waiting) == [GRANTED, GRANTED]
    assert parts.held("a") == 0


@in_virtual_time
async def test_unasked_for_they_go_to_the_ledger_and_the_row_goes_below_nothing() -> None:
    parts = sold_out(3)
    await end_orders(parts, await parts.engine.reserve_return({"a": 2}, 0, 1.0), 2)
    await let_run()
    assert (parts.held("a"), parts.store.available("a")) == (-2, 2)
    parts.check_quiet()


@in_virtual_time
async def test_told_twice_they_come_back_once() -> None:
    parts = sold_out(3)
    key = await parts.engine.reserve_return({"a": 2}, 0, 1.0)
    await end_orders(parts, key, 2)
    await end_orders(parts, key, 2)
    await let_run()
    assert parts.store.available("a") == 2
    parts.check_quiet()


@in_virtual_time
async def test_only_those_come_back_whose_orders_have_ended() -> None:
    parts = sold_out(3)
    await end_orders(parts, await parts.engine.reserve_return({"a": 3}, 0, 1.0), 1)
    await let_run()
    assert parts.store.available("a") == 1
    parts.check_quiet()


@in_virtual_time
async def test_a_gateway_that_dies_before_the_orders_end_returns_nothing() -> None:
    parts = sold_out(3)
    async with parts.housekeeping():
        key = await parts.engine.reserve_return({"a": 2}, 0, 1.0)
        waiting = parts.reserving({"a": 1})
        await asyncio.sleep(AFTER_GRACE_S)
    assert waiting.result().verdicts == [OUT_OF_STOCK]
    assert parts.journal.spends[key] == {}
    parts.check_quiet()


@in_virtual_time
async def test_a_gateway_that_dies_after_the_orders_ended_returns_all() -> None:
    parts = sold_out(3)
    async with parts.housekeeping():
        key = await parts.engine.reserve_return({"a": 2}, 0, 1.0)
        parts.journal.spends[key] = {"a": -2}
        await asyncio.sleep(AFTER_GRACE_S)
    assert parts.store.available("a") == 2
    parts.check_quiet()


@in_virtual_time
async def test_the_ledger_is_not_asked() -> None:
    parts = sold_out(3)
    parts.store.away = True
    await end_orders(parts, await parts.engine.reserve_return({"a": 2}, 0, 1.0), 2)
    await let_run()
    assert parts.engine.units_free() == 2


@in_virtual_time
async def test_they_are_not_forgotten_while_the_ledger_is_away() -> None:
    """An escrow that holds nothing is forgotten when the ledger does not know the SKU or does not answer."""
    parts = sold_out(3)
    key = await parts.engine.reserve_return({"a": 2}, 0, 1.0)
    parts.store.away = True
    await parts.reserve({"a": 9})
    await end_orders(parts, key, 2)
    await parts.reserve({"a": 9})
    await let_run()
    assert parts.engine.units_free() == 2
    parts.store.away = False
    assert (await parts.reserve({"a": 2})).verdicts == [GRANTED]


@in_virtual_time
async def test_a_row_that_a_fold_made_tells_that_the_server_is_fenced() -> None:
    parts = sold_out(3)
    key = await parts.engine.reserve_return({"a": 2}, 0, 1.0)
    parts.journal.spends[key] = {"a": -2}
    parts.store.skus["a"].apply(Fold(INCARNATION, None, -2))
    await parts.engine.settle([Settlement(*key, {"a": -2})], 1.0)
    await let_run()
    with pytest.raises(KeeperUnreachable):
        await parts.engine.reserve_return({"a": 1}, 0, 1.0)
    assert parts.store.available("a") == 2
    parts.store.check_conservation()
