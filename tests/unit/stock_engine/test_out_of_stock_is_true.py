"""Nobody hears "out of stock" while units could still serve them, and everybody hears it at once when none can."""

import asyncio

import pytest

from stockd.escrow import SOLD_OUT_PATIENCE_S
from tests.unit.stock_engine.parts import GRANTED, OUT_OF_STOCK, STORE_TIMEOUT_S, Parts, verdicts
from tests.unit.virtual_time import clock, in_virtual_time, let_run


@in_virtual_time
async def test_with_nothing_in_doubt_all_are_told_without_any_wait() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    await parts.sell(await parts.reserve({"a": 1}), {"a": 1})
    reservation = await parts.reserve(*[{"a": 1}] * 50)
    assert reservation.verdicts == [OUT_OF_STOCK] * 50
    assert clock() == 0


@in_virtual_time
async def test_units_in_doubt_that_come_back_serve_those_who_waited() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    first = await parts.reserve({"a": 3})
    waiting = [parts.reserving({"a": 1}) for _ in range(4)]
    await let_run()
    assert verdicts(*waiting) == [None] * 4
    await parts.sell(first, {"a": 1})
    await asyncio.wait(waiting[:2])
    assert verdicts(*waiting[:2]) == [GRANTED, GRANTED]
    for task in waiting[:2]:
        await parts.sell(task.result(), {"a": 1})
    await asyncio.wait(waiting)
    assert verdicts(*waiting) == [GRANTED, GRANTED, OUT_OF_STOCK, OUT_OF_STOCK]
    assert clock() == 0


@in_virtual_time
async def test_units_in_doubt_that_turn_out_sold_end_the_wait_at_once() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    first = await parts.reserve({"a": 1})
    waiting = parts.reserving({"a": 1})
    await let_run()
    await parts.sell(first, {"a": 1})
    assert (await waiting).verdicts == [OUT_OF_STOCK]
    assert clock() == 0


@in_virtual_time
async def test_a_slow_ledger_does_not_use_up_patience() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    first = await parts.reserve({"a": 1})
    parts.store.answering.clear()
    waiting = parts.reserving({"a": 1})
    await asyncio.sleep(2 * SOLD_OUT_PATIENCE_S)
    parts.store.answering.set()
    await let_run()
    assert verdicts(waiting) == [None]
    await parts.sell(first, {})
    assert (await waiting).verdicts == [GRANTED]


@in_virtual_time
async def test_the_wait_for_units_in_doubt_ends_with_patience() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    await parts.reserve({"a": 1})
    assert (await parts.reserve({"a": 1})).verdicts == [OUT_OF_STOCK]
    assert clock() == pytest.approx(SOLD_OUT_PATIENCE_S)


@in_virtual_time
async def test_units_promised_to_a_cart_serve_the_next_when_the_cart_is_refused_elsewhere() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    parts.store.create("b", 1)
    in_doubt = await parts.reserve({"b": 1})
    cart = parts.reserving({"a": 1, "b": 1})
    await let_run()
    single = parts.reserving({"a": 1})
    await let_run()
    await parts.sell(in_doubt, {"b": 1})
    await asyncio.wait([cart, single])
    assert verdicts(cart, single) == [OUT_OF_STOCK, GRANTED]


@in_virtual_time
async def test_an_order_larger_than_all_there_can_be_does_not_wait() -> None:
    parts = Parts()
    parts.store.create("a", 2)
    await parts.reserve({"a": 1})
    assert (await parts.reserve({"a": 3})).verdicts == [OUT_OF_STOCK]
    assert clock() == 0


@in_virtual_time
async def test_units_that_others_restock_serve_those_who_waited() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    first = await parts.reserve({"a": 1})
    waiting = parts.reserving({"a": 1})
    await let_run()
    parts.store.add("a", 1)
    await parts.sell(first, {"a": 1})
    assert (await waiting).verdicts == [GRANTED]


@in_virtual_time
async def test_the_ledger_is_not_hammered_while_a_cart_is_stuck_elsewhere() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    parts.store.create("b", 1)
    free_a = parts.reserving({"a": 1})
    await free_a
    slow = asyncio.Event()
    take = parts.store.take

    async def b_does_not_answer(sku: str, *rest: object) -> object:
        if sku == "b":
            await slow.wait()
        return await take(sku, *rest)  # type: ignore[arg-type]

    parts.store.take = b_does_not_answer  # type: ignore[method-assign,assignment]
    cart = parts.reserving({"a": 1, "b": 1})
    await parts.sell(free_a.result(), {})  # its unit is promised to the cart, which waits for b
    await asyncio.sleep(SOLD_OUT_PATIENCE_S)
    before = len(parts.store.sent)
    single = parts.reserving({"a": 1})
    single.add_done_callback(lambda _: slow.set())
    async with asyncio.timeout(STORE_TIMEOUT_S):
        await single
    assert len(parts.store.sent) - before <= 3
    await cart


@in_virtual_time
async def test_a_batch_does_not_wait_for_its_own_units_which_nobody_can_settle_before_it_is_answered() -> None:
    parts = Parts()
    parts.store.create("a", 300)
    reservation = await parts.reserve(*[{"a": 1}] * 1_000)
    assert reservation.verdicts == [GRANTED] * 300 + [OUT_OF_STOCK] * 700
    assert clock() == 0


@in_virtual_time
async def test_units_that_another_request_gets_in_the_same_round_may_come_back() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    first, second = parts.reserving({"a": 1}), parts.reserving({"a": 1})
    await let_run()
    assert verdicts(first, second) == [GRANTED, None]
    await parts.sell(first.result(), {})
    assert (await second).verdicts == [GRANTED]


@in_virtual_time
async def test_a_batch_does_not_wait_for_its_own_units_that_are_granted_already() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    first = await parts.reserve({"a": 5})
    batch = parts.reserving(*[{"a": 1}] * 6)
    await let_run()
    await parts.sell(first, {})
    assert (await batch).verdicts == [GRANTED] * 5 + [OUT_OF_STOCK]
    assert clock() == 0
