"""Per SKU one conditional write is on its way at a time; what arrives meanwhile shares the next one."""

import asyncio

from tests.unit.stock_engine.parts import GRANTED, Parts, verdicts
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_orders_that_arrive_during_a_write_share_the_next() -> None:
    parts = Parts()
    parts.store.create("a", 100)
    await parts.sell(await parts.reserve({"a": 1}), {"a": 1})  # the policy is known now
    parts.store.answering.clear()
    waiting = [parts.reserving({"a": 1})]
    await let_run()
    for _ in range(20):
        waiting.append(parts.reserving({"a": 1}))
        await let_run()
    parts.store.answering.set()
    await asyncio.wait(waiting)
    assert verdicts(*waiting) == [GRANTED] * 21
    assert [take.count for _, take in parts.store.sent] == [1, 1, 20]
    assert parts.store.most_in_flight == 1


@in_virtual_time
async def test_skus_do_not_wait_for_each_other() -> None:
    parts = Parts()
    for sku in "abc":
        parts.store.create(sku, 1)
    parts.store.answering.clear()
    waiting = [parts.reserving({sku: 1}) for sku in "abc"]
    await let_run()
    assert set(parts.store.in_flight) == set()  # each is first noted as held
    parts.store.answering.set()
    await asyncio.wait(waiting)
    assert verdicts(*waiting) == [GRANTED] * 3
    assert parts.store.most_in_flight == 1


@in_virtual_time
async def test_a_sku_is_noted_before_its_first_take_and_only_then() -> None:
    parts = Parts()
    parts.store.create("a", 10)
    for _ in range(3):
        await parts.reserve({"a": 1})
    assert parts.store.noted == [(parts.engine.incarnation, "a")]
