"""What is granted and not decided, and what is sold, was taken from the ledger before."""

import asyncio
from uuid import UUID

from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED, OUT_OF_STOCK, Parts
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_it_takes_what_orders_need_and_no_more() -> None:
    parts = Parts()
    parts.store.create("a", 100)
    await parts.reserve({"a": 3}, {"a": 4})
    assert parts.held("a") == 7


@in_virtual_time
async def test_units_on_their_way_back_are_not_granted() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    first = await parts.reserve({"a": 1})
    parts.store.answering.clear()
    await parts.sell(first, {})
    await let_run()
    second = parts.reserving({"a": 1})
    await let_run()
    assert not second.done()
    parts.store.answering.set()
    assert (await second).verdicts == [GRANTED]
    assert (parts.held("a"), parts.engine.units_in_doubt()) == (1, 1)


@in_virtual_time
async def test_a_take_that_is_known_not_to_have_happened_grants_nothing() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    parts.store.fates.append(Fate.AWAY)
    reservation = await parts.reserve({"a": 1})
    assert reservation.seq == 0
    assert parts.held("a") == 0


@in_virtual_time
async def test_two_incarnations_share_what_there_is() -> None:
    one = Parts()
    other = Parts(store=one.store, incarnation=UUID(int=101))
    one.store.create("a", 5)
    answers = await asyncio.gather(
        *(parts.reserve({"a": 1}) for parts in (one, other, one, other, one, other, one, other))
    )
    granted = [answer.verdicts for answer in answers]
    assert granted.count([GRANTED]) == 5
    assert granted.count([OUT_OF_STOCK]) == 3
    one.store.check_conservation()
