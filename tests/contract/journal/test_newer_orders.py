"""Whoever knows orders at some version is told which of them have moved since, and nothing about the others."""

from datetime import timedelta
from uuid import uuid4

from journal.protocol import Committed, Journal, Transition, TransitionBatch
from sluice.model import Order, OrderState
from tests.journals import new_order, registered, sale


async def move(journal: Journal, *orders: Order) -> None:
    time = orders[0].update_time + timedelta(seconds=1)
    steps = [Transition(order, OrderState.VALIDATED) for order in orders]
    assert isinstance(await journal.transition(TransitionBatch(steps, [], b"", 0, time)), Committed)


async def test_those_that_have_moved_and_no_others(journal: Journal) -> None:
    incarnation = await registered(journal)
    placed = [new_order() for _ in range(20)]
    await journal.commit(sale(incarnation, 1, placed))
    standing = await journal.find_orders([order.order_id for order in placed])
    versions = dict.fromkeys(standing, 1) | {str(uuid4()): 0}
    assert await journal.find_newer(versions) == {}

    moved = list(standing)[::3]
    await move(journal, *(standing[order_id] for order_id in moved))
    newer = await journal.find_newer(versions)
    assert newer == await journal.find_orders(moved)
    assert {order.version for order in newer.values()} == {2}
    assert await journal.find_newer(versions | dict.fromkeys(newer, 2)) == {}
    unknown_before = moved[0]
    assert list(await journal.find_newer({unknown_before: 0})) == [unknown_before]


async def test_of_no_orders_none_have_moved(journal: Journal) -> None:
    assert await journal.find_newer({}) == {}
