"""A batch stands whole, once, or not at all; a refusal says what stands in its way."""

from uuid import uuid4

import pytest

from journal.protocol import (
    Batch,
    Committed,
    IncarnationsFenced,
    Journal,
    OrdersExist,
    ReservationsClosed,
    Spend,
)
from sluice.model import MAX_PRIORITY, Line, NewOrder, Order, OrderState
from tests.contract.journal.standing import standing
from tests.journals import NOW, new_order, registered, sale


def as_created(order: NewOrder) -> Order:
    made = Order(order.order_id, order.customer_id, order.lines, OrderState.CREATED, NOW, NOW, 1)
    return made._replace(priority=order.priority)


async def test_a_committed_batch_stands_with_orders_spends_and_one_outbox_row(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = [new_order({"tea": 2, "cup": 1}, customer_id=f"customer-{n}") for n in range(3)]
    batch = sale(incarnation, 1, orders)
    assert await journal.commit(batch) == Committed()
    after = await standing(journal)
    assert after.orders == {order.order_id: as_created(order) for order in orders}
    assert after.spends == {incarnation: {"tea": 6, "cup": 3}}
    assert [(row.events, row.event_count, row.create_time) for row in after.outbox] == [(batch.events, 3, NOW)]


async def test_each_order_keeps_its_own_priority(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = [new_order()._replace(priority=priority) for priority in (0, MAX_PRIORITY, 0, 1)]
    assert await journal.commit(sale(incarnation, 1, orders)) == Committed()
    found = await journal.find_orders([order.order_id for order in orders])
    assert found == {order.order_id: as_created(order) for order in orders}
    listed = {order.order_id: order.priority for order in await journal.list_orders(None, None, 10)}
    assert listed == {order.order_id: order.priority for order in orders}


async def test_each_order_of_a_batch_keeps_its_own_lines(journal: Journal) -> None:
    """Whichever of them ask for the same: what is equal travels once."""
    incarnation = await registered(journal)
    carts = ({"tea": 1}, {"tea": 2}, {"tea": 1, "cup": 1}, {"cup": 1})
    orders = [new_order(carts[n % len(carts)]) for n in (0, 1, 0, 2, 3, 2, 1, 0)]
    assert await journal.commit(sale(incarnation, 1, orders)) == Committed()
    found = await journal.find_orders([order.order_id for order in orders])
    assert found == {order.order_id: as_created(order) for order in orders}


async def test_names_and_lines_come_back_as_they_were(journal: Journal) -> None:
    incarnation = await registered(journal)
    names = [
        "späti 🍵",
        'quo"te',
        "back\\slash",
        "'); DROP TABLE orders --",
        "\u0001\t\n",
        "[]",
        "{}",
        "null",
        "1",
        "ﬀ\u200d",
    ]
    lines = tuple(Line(sku, quantity) for quantity, sku in enumerate(sorted(names), 1))
    orders = [NewOrder(str(uuid4()), name, lines) for name in names]
    await journal.commit(sale(incarnation, 1, orders))
    found = await journal.find_orders([order.order_id for order in orders])
    assert found == {order.order_id: as_created(order) for order in orders}
    sold = {line.sku: line.quantity * len(names) for line in lines}
    assert await journal.spent(incarnation) == sold
    assert await journal.sold(names) == sold
    assert await journal.close_reservations(incarnation, [1], NOW) == {1: sold}


async def test_the_same_batch_again_moves_nothing_and_shows_the_orders(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = [new_order() for _ in range(3)]
    await journal.commit(sale(incarnation, 1, orders))
    before = await standing(journal)
    assert await journal.commit(sale(incarnation, 1, orders)) == OrdersExist(before.orders)
    assert await standing(journal) == before


async def test_only_the_orders_that_stand_are_shown_and_the_others_are_not_written(journal: Journal) -> None:
    incarnation = await registered(journal)
    old, new = new_order(customer_id="first"), new_order()
    await journal.commit(sale(incarnation, 1, [old]))
    before = await standing(journal)
    reused = new_order({"cup": 9}, customer_id="second", order_id=old.order_id)
    assert await journal.commit(sale(incarnation, 2, [new, reused])) == OrdersExist({old.order_id: as_created(old)})
    assert await standing(journal) == before
    assert await journal.commit(sale(incarnation, 2, [new])) == Committed()


async def test_a_reservation_is_spent_once(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(sale(incarnation, 1, [new_order({"tea": 2})]))
    before = await standing(journal)
    again = await journal.commit(sale(incarnation, 1, [new_order({"tea": 5})]))
    assert again == ReservationsClosed({(incarnation, 1): {"tea": 2}})
    assert await standing(journal) == before


async def test_a_batch_may_spend_from_several_owners_all_or_nothing(journal: Journal) -> None:
    one, other = await registered(journal, "stockd-0"), await registered(journal, "stockd-1")
    spends = [Spend(other, 7, {"cup": 2}), Spend(one, 3, {"tea": 1}), Spend(one, 2, {})]
    assert await journal.commit(Batch([new_order()], spends, b"e", 1, NOW)) == Committed()
    assert await journal.all_spends() == {one: {"tea": 1}, other: {"cup": 2}}
    before = await standing(journal)
    mixed = Batch(
        [new_order()], [Spend(one, 4, {"tea": 1}), Spend(other, 7, {"cup": 1}), Spend(one, 2, {})], b"e", 1, NOW
    )
    assert await journal.commit(mixed) == ReservationsClosed({(other, 7): {"cup": 2}, (one, 2): {}})
    assert await standing(journal) == before


async def test_returned_units_are_spent_negatively(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(sale(incarnation, 1, [new_order({"tea": 5})]))
    assert await journal.commit(Batch([], [Spend(incarnation, 2, {"tea": -2})], b"", 0, NOW)) == Committed()
    assert await journal.spent(incarnation) == {"tea": 3}


async def test_a_batch_without_events_leaves_no_outbox_row(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(Batch([new_order()], [Spend(incarnation, 1, {"tea": 1})], b"", 0, NOW))
    assert (await standing(journal)).outbox == []


async def test_orders_without_a_reservation_can_be_committed(journal: Journal) -> None:
    assert await journal.commit(Batch([new_order()], [], b"e", 1, NOW)) == Committed()


async def test_the_largest_batch_of_the_largest_carts(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = [new_order({f"sku-{(n + i) % 977}": 1_000_000 for i in range(64)}) for n in range(5_000)]
    batch = sale(incarnation, 1, orders)._replace(events=b"\x00\xff" * 2**19)
    assert await journal.commit(batch) == Committed()
    assert sum((await journal.spent(incarnation)).values()) == 5_000 * 64 * 1_000_000
    assert (await standing(journal)).outbox[0].events == batch.events


@pytest.mark.parametrize("known", [True, False])
async def test_a_fenced_or_unknown_incarnation_sells_nothing(journal: Journal, known: bool) -> None:
    fine = await registered(journal, "stockd-1")
    fenced = await registered(journal) if known else uuid4()
    if known:
        await journal.fence(fenced)
    before = await standing(journal)
    spends = [Spend(fine, 1, {"tea": 1}), Spend(fenced, 1, {"tea": 1})]
    refused = await journal.commit(Batch([new_order()], spends, b"e", 1, NOW))
    assert refused == IncarnationsFenced(frozenset({fenced}))
    assert await standing(journal) == before


@pytest.mark.parametrize("twice", ["order", "reservation"])
async def test_a_batch_that_contradicts_itself_is_a_bug_and_moves_nothing(journal: Journal, twice: str) -> None:
    incarnation = await registered(journal)
    order, spend = new_order(), Spend(incarnation, 1, {"tea": 1})
    orders, spends = ([order, order], [spend]) if twice == "order" else ([order], [spend, spend])
    with pytest.raises(ValueError, match="twice"):
        await journal.commit(Batch(orders, spends, b"e", 1, NOW))
    assert (await standing(journal))[:2] == ({}, {})
