"""Holds that are over expire soon, by one process at a time, and go on expiring whatever was away in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from journal.protocol import Transition
from orders.expiring import LOOK_INTERVAL_S, TAKE_OVER_INTERVAL_S, expire, keep_expiring
from sluice.model import OrderState
from tests.unit.fake_journal import Fault
from tests.unit.order_moving.parts import NOW, FakeJournal, FakeOwners, now, standing
from tests.unit.virtual_time import in_virtual_time

HELD = [standing(number, {"a": 1}) for number in range(1, 4)]


@asynccontextmanager
async def expiring(journal: FakeJournal, owners: FakeOwners) -> AsyncIterator[list[int]]:
    """One process; how many orders each of its looks has expired."""
    counted: list[int] = []
    anything: Any = journal
    task = asyncio.create_task(keep_expiring(anything, owners, now, counted.append))
    try:
        yield counted
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def expired(journal: FakeJournal) -> int:
    return sum(order.state is OrderState.EXPIRED for order in journal.orders.values())


@in_virtual_time
async def test_what_is_over_expires_at_the_next_look_with_its_reason_and_its_units() -> None:
    journal, owners = FakeJournal(*HELD[:1]), FakeOwners()
    async with expiring(journal, owners) as counted:
        await asyncio.sleep(LOOK_INTERVAL_S / 2)
        assert counted == [1]
        journal.orders.update({order.order_id: order for order in HELD[1:]})
        await asyncio.sleep(LOOK_INTERVAL_S)
        assert counted == [1, 2]
    assert {order.reason for order in journal.orders.values()} == {"HOLD_EXPIRED"}
    assert journal.returned() == {"a": 3}


@in_virtual_time
async def test_what_was_confirmed_since_it_was_read_is_left_alone() -> None:
    confirmed = Transition(HELD[0], OrderState.CONFIRMED).after(NOW)
    journal: Any = FakeJournal(confirmed, HELD[1])
    assert await expire(HELD[:2], journal, FakeOwners(), now) == 1
    assert journal.orders[confirmed.order_id] == confirmed


@in_virtual_time
async def test_one_at_a_time_and_the_next_takes_over() -> None:
    journal, owners = FakeJournal(*HELD), FakeOwners()
    async with expiring(journal, owners) as first:
        await asyncio.sleep(LOOK_INTERVAL_S / 2)
        async with expiring(journal, owners) as second:
            await asyncio.sleep(10 * TAKE_OVER_INTERVAL_S)
            assert (first, second) == ([3], [])
    journal.orders = {order.order_id: order for order in HELD}
    async with expiring(journal, owners) as third:
        await asyncio.sleep(TAKE_OVER_INTERVAL_S)
        assert third == [3]


@in_virtual_time
async def test_after_an_outage_of_the_journal_or_of_all_servers_it_goes_on() -> None:
    journal, owners = FakeJournal(), FakeOwners()
    async with expiring(journal, owners) as counted:
        journal.faults.append(Fault.AWAY)
        await asyncio.sleep(2 * TAKE_OVER_INTERVAL_S)
        for owner in owners.all:
            owner.broken = True
        journal.orders = {order.order_id: order for order in HELD}
        await asyncio.sleep(2 * TAKE_OVER_INTERVAL_S)
        assert (counted, expired(journal)) == ([], 0)
        for owner in owners.all:
            owner.broken = owner.away = False
        await asyncio.sleep(2 * TAKE_OVER_INTERVAL_S)
        assert (counted, expired(journal)) == ([3], 3)


@in_virtual_time
async def test_while_nothing_is_over_it_only_looks_now_and_then() -> None:
    journal, owners = FakeJournal(), FakeOwners()
    async with expiring(journal, owners):
        await asyncio.sleep(100 * LOOK_INTERVAL_S)
    assert journal.looks <= 102
