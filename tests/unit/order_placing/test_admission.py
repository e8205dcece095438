"""What is not started costs nothing: too many orders, callers that left, deadlines that passed."""

import asyncio

import pytest

from gateway.outcomes import Reason
from gateway.placing import GROUPS_IN_FLIGHT
from sluice.errors import Overloaded
from tests.unit.order_placing.parts import Parts, is_new, order, reason
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_above_the_bound_nothing_is_started() -> None:
    parts = Parts(max_orders_in_flight=3)
    parts.stock({"a": 9})
    parts.journal.answering.clear()
    started = parts.submit(order(1), order(2))
    with pytest.raises(Overloaded) as refused:
        parts.submit(order(3), order(4))
    assert refused.value.retry_after_s > 0
    assert parts.placing.orders_in_flight == 2
    parts.journal.answering.set()
    for group in started:
        await group.decided()
    assert sorted(parts.journal.orders) == [order(1).order_id, order(2).order_id]
    assert is_new(await parts.place_one(order(3)))
    await parts.check_quiet()


async def _all_lanes_busy(parts: Parts) -> None:
    parts.keepers["stockd-0"].answering.clear()
    for number in range(GROUPS_IN_FLIGHT):
        parts.submit(order(100 + number))
        await let_run()


@in_virtual_time
async def test_an_order_whose_caller_left_before_its_start_is_not_started() -> None:
    parts = Parts()
    parts.stock({"a": 9})
    await _all_lanes_busy(parts)
    (group,) = parts.submit(order(1))
    caller = asyncio.create_task(group.decided())
    await let_run()
    caller.cancel()
    await let_run()
    parts.keepers["stockd-0"].answering.set()
    await parts.check_quiet()
    assert order(1).order_id not in parts.journal.orders
    assert len(parts.journal.orders) == GROUPS_IN_FLIGHT


@in_virtual_time
async def test_a_repeat_of_an_order_whose_caller_left_before_its_start_is_decided_by_itself() -> None:
    parts = Parts()
    parts.stock({"a": 9})
    await _all_lanes_busy(parts)
    (group,) = parts.submit(order(1))
    caller = asyncio.create_task(group.decided())
    (repeat,) = parts.submit(order(1))
    await let_run()
    caller.cancel()
    await let_run()
    parts.keepers["stockd-0"].answering.set()
    assert is_new((await repeat.decided())[0])
    await parts.check_quiet()


@in_virtual_time
async def test_an_order_that_was_started_is_finished_though_its_caller_left() -> None:
    parts = Parts()
    parts.stock({"a": 9})
    parts.journal.answering.clear()
    (group,) = parts.submit(order(1))
    caller = asyncio.create_task(group.decided())
    await let_run()
    caller.cancel()
    await let_run()
    parts.journal.answering.set()
    await parts.check_quiet()
    assert order(1).order_id in parts.journal.orders


@in_virtual_time
async def test_an_order_whose_deadline_passed_is_not_started() -> None:
    parts = Parts()
    parts.stock({"a": 9})
    await _all_lanes_busy(parts)
    (group,) = parts.submit(order(1), within_s=0.05)
    await asyncio.sleep(0.1)
    parts.keepers["stockd-0"].answering.set()
    assert reason((await group.decided())[0]) is Reason.DEADLINE
    await parts.check_quiet()
    assert order(1).order_id not in parts.journal.orders
