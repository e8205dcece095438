"""Per SKU, orders are granted in the order in which they arrived (I9)."""

import asyncio

from tests.unit.stock_engine.parts import GRANTED, OUT_OF_STOCK, Parts, verdicts
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_within_a_batch_the_first_orders_are_served() -> None:
    parts = Parts()
    parts.store.create("a", 2)
    reservation = await parts.reserve({"a": 1}, {"a": 1}, {"a": 1})
    assert reservation.verdicts == [GRANTED, GRANTED, OUT_OF_STOCK]


@in_virtual_time
async def test_over_requests_the_first_orders_are_served() -> None:
    parts = Parts()
    parts.store.create("a", 2)
    parts.store.answering.clear()
    waiting = []
    for _ in range(4):
        waiting.append(parts.reserving({"a": 1}))
        await let_run()
    parts.store.answering.set()
    await asyncio.wait(waiting)
    assert verdicts(*waiting) == [GRANTED, GRANTED, OUT_OF_STOCK, OUT_OF_STOCK]


@in_virtual_time
async def test_a_small_order_does_not_overtake_a_large_one_that_may_still_be_served() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    first = await parts.reserve({"a": 2})
    large = parts.reserving({"a": 2})
    await let_run()
    small = parts.reserving({"a": 1})
    await let_run()
    assert verdicts(large, small) == [None, None]
    await parts.sell(first, {})
    await asyncio.wait([large, small])
    assert verdicts(large, small) == [GRANTED, GRANTED]


@in_virtual_time
async def test_a_small_order_is_served_after_a_large_one_that_never_can_be() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    large = parts.reserving({"a": 4})
    small = parts.reserving({"a": 3})
    await asyncio.wait([large, small])
    assert verdicts(large, small) == [OUT_OF_STOCK, GRANTED]


@in_virtual_time
async def test_an_order_for_one_sku_does_not_overtake_a_cart_that_waits_for_another() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    parts.store.create("b", 1)
    in_doubt = await parts.reserve({"b": 1})
    cart = parts.reserving({"a": 1, "b": 1})
    await let_run()
    single = parts.reserving({"a": 1})
    await let_run()
    assert verdicts(cart, single) == [None, None]
    await parts.sell(in_doubt, {})
    await asyncio.wait([cart, single])
    assert verdicts(cart, single) == [GRANTED, OUT_OF_STOCK]
