"""Orders change their state together, each from where it stood when it was read, or not at all."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from journal.protocol import (
    Committed,
    IncarnationsFenced,
    Journal,
    OrdersMoved,
    ReservationsClosed,
    Spend,
    Transition,
    TransitionBatch,
    TransitionResult,
)
from sluice.model import Line, NewOrder, Order, OrderState, same_content, units_by_sku
from tests.contract.journal.standing import standing
from tests.journals import NOW, new_order, registered, sale

LATER = NOW + timedelta(seconds=7)
HOLD = timedelta(minutes=10)


async def placed(journal: Journal, incarnation: UUID, orders: Sequence[NewOrder], seq: int = 1) -> list[Order]:
    assert await journal.commit(sale(incarnation, seq, orders)) == Committed()
    found = await journal.find_orders([order.order_id for order in orders])
    return [found[order.order_id] for order in orders]


def cancelled(orders: Sequence[Order], incarnation: UUID, seq: int, reason: str = "CLIENT") -> TransitionBatch:
    units = {sku: -count for sku, count in units_by_sku(orders).items()}
    steps = [Transition(order, OrderState.CANCELLED, reason) for order in orders]
    return TransitionBatch(steps, [Spend(incarnation, seq, units)], b"back", len(orders), LATER)


def confirmed(orders: Sequence[Order]) -> TransitionBatch:
    return TransitionBatch([Transition(o, OrderState.CONFIRMED) for o in orders], [], b"yes", len(orders), LATER)


async def test_orders_move_with_their_units_and_one_outbox_row(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = await placed(journal, incarnation, [new_order({"tea": 2, "cup": 1}), new_order({"tea": 3})])
    batch = cancelled(orders, incarnation, 2)
    assert await journal.transition(batch) == Committed()
    after = await standing(journal)
    assert after.orders == {
        order.order_id: order._replace(state=OrderState.CANCELLED, version=2, update_time=LATER, reason="CLIENT")
        for order in orders
    }
    assert after.orders == {step.order.order_id: step.after(LATER) for step in batch.transitions}
    assert after.spends == {incarnation: {"tea": 0, "cup": 0}}
    assert [(row.events, row.event_count, row.create_time) for row in after.outbox][1:] == [(b"back", 2, LATER)]


async def test_several_steps_one_after_the_other(journal: Journal) -> None:
    incarnation = await registered(journal)
    (order,) = await placed(journal, incarnation, [new_order()])
    for state in (OrderState.VALIDATED, OrderState.CONFIRMED, OrderState.CANCELLED):
        step = Transition(order, state)
        assert await journal.transition(TransitionBatch([step], [], b"", 0, LATER)) == Committed()
        order = step.after(LATER)
        assert await journal.find_orders([order.order_id]) == {order.order_id: order}
    assert order.version == 4


async def test_an_order_that_moved_is_shown_and_nothing_is_written(journal: Journal) -> None:
    incarnation = await registered(journal)
    still, moved = await placed(journal, incarnation, [new_order(), new_order()])
    await journal.transition(confirmed([moved]))
    unknown = moved._replace(order_id=str(uuid4()))
    before = await standing(journal)
    refused = await journal.transition(cancelled([still, moved, unknown], incarnation, 2))
    now = before.orders[moved.order_id]
    assert refused == OrdersMoved({moved.order_id: now, unknown.order_id: None})
    assert now.state is OrderState.CONFIRMED
    assert await standing(journal) == before
    assert await journal.transition(cancelled([still], incarnation, 2)) == Committed()


async def test_the_same_batch_again_shows_the_orders_as_it_made_them(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = await placed(journal, incarnation, [new_order(), new_order()])
    batch = cancelled(orders, incarnation, 2)
    await journal.transition(batch)
    before = await standing(journal)
    assert await journal.transition(batch) == OrdersMoved(
        {step.order.order_id: step.after(LATER) for step in batch.transitions}
    )
    assert await standing(journal) == before


async def test_a_reservation_returns_units_once(journal: Journal) -> None:
    incarnation = await registered(journal)
    one, other = await placed(journal, incarnation, [new_order({"tea": 2}), new_order({"tea": 5})])
    await journal.transition(cancelled([one], incarnation, 2))
    before = await standing(journal)
    refused = await journal.transition(cancelled([other], incarnation, 2))
    assert refused == ReservationsClosed({(incarnation, 2): {"tea": -2}})
    assert await standing(journal) == before


async def test_a_void_reservation_returns_nothing(journal: Journal) -> None:
    incarnation = await registered(journal)
    (order,) = await placed(journal, incarnation, [new_order()])
    await journal.close_reservations(incarnation, [2], NOW)
    refused = await journal.transition(cancelled([order], incarnation, 2))
    assert refused == ReservationsClosed({(incarnation, 2): {}})


@pytest.mark.parametrize("known", [True, False])
async def test_a_fenced_or_unknown_incarnation_takes_nothing_back(journal: Journal, known: bool) -> None:
    fine = await registered(journal, "stockd-1")
    (order,) = await placed(journal, fine, [new_order()])
    fenced = await registered(journal) if known else uuid4()
    if known:
        await journal.fence(fenced)
    before = await standing(journal)
    refused = await journal.transition(cancelled([order], fenced, 1))
    assert refused == IncarnationsFenced(frozenset({fenced}))
    assert await standing(journal) == before


@pytest.mark.parametrize("twice", ["order", "reservation"])
async def test_a_batch_that_contradicts_itself_is_a_bug_and_moves_nothing(journal: Journal, twice: str) -> None:
    incarnation = await registered(journal)
    (order,) = await placed(journal, incarnation, [new_order()])
    batch = cancelled([order], incarnation, 2)
    doubled = (
        batch._replace(transitions=[*batch.transitions] * 2)
        if twice == "order"
        else batch._replace(spends=[*batch.spends] * 2)
    )
    before = await standing(journal)
    with pytest.raises(ValueError, match="twice"):
        await journal.transition(doubled)
    assert await standing(journal) == before


async def test_of_steps_at_once_from_one_place_exactly_one_is_made(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = await placed(journal, incarnation, [new_order() for _ in range(20)])
    batches = [cancelled(orders, incarnation, 2), confirmed(orders), cancelled(orders, incarnation, 3, "OTHER")]
    results: list[TransitionResult] = await asyncio.gather(*(journal.transition(batch) for batch in batches))
    assert [type(result) for result in results].count(Committed) == 1
    made = batches[results.index(Committed())]
    assert (await standing(journal)).orders == {step.order.order_id: step.after(LATER) for step in made.transitions}


async def test_batches_that_overlap_in_any_order_do_not_deadlock(journal: Journal) -> None:
    incarnation = await registered(journal)
    orders = await placed(journal, incarnation, [new_order() for _ in range(60)])
    seqs = iter(range(2, 1_000))

    async def end(some: Sequence[Order]) -> int:
        """As a gateway does: drop what has moved and try the rest. Returns how many it ended."""
        while some:
            match await journal.transition(cancelled(some, incarnation, next(seqs))):
                case Committed():
                    return len(some)
                case OrdersMoved(moved):
                    assert moved
                    some = [order for order in some if order.order_id not in moved]
        return 0

    overlapping = [[*orders[n:], *orders[:n]][:: 1 - 2 * (n % 2)][:40] for n in range(0, 60, 5)]
    assert sum(await asyncio.gather(*(end(some) for some in overlapping))) == 60
    after = await standing(journal)
    assert after.spends == {incarnation: {"tea": 0}}
    assert {order.version for order in after.orders.values()} == {2}


async def test_a_held_order_stands_with_the_end_of_its_hold(journal: Journal) -> None:
    incarnation = await registered(journal)
    new = [new_order()._replace(hold=HOLD), new_order()]
    held, plain = await placed(journal, incarnation, new)
    assert (held.state, held.hold_end) == (OrderState.HELD, NOW + HOLD)
    assert (plain.state, plain.hold_end) == (OrderState.CREATED, None)
    assert same_content(held, new[0])
    assert not same_content(held, new[0]._replace(hold=None))
    assert not same_content(plain, new[1]._replace(hold=HOLD))
    await journal.transition(confirmed([held]))
    assert same_content((await journal.find_orders([held.order_id]))[held.order_id], new[0])


async def test_holds_that_are_over_are_due_and_no_others(journal: Journal) -> None:
    """NOW is long past by the database's clock."""
    incarnation = await registered(journal)
    over = [new_order()._replace(hold=HOLD + n * timedelta(seconds=1)) for n in range(4)]
    far = new_order()._replace(hold=timedelta(days=30_000))
    orders = await placed(journal, incarnation, [far, new_order(), *reversed(over)])
    by_id = {order.order_id: order for order in orders}
    async with journal.lease_holds() as lease:
        assert lease is not None
        due = [by_id[order.order_id] for order in over]
        assert await lease.due_holds(10) == due
        assert await lease.due_holds(2) == due[:2]
        await journal.transition(confirmed(due[:1]))
        await journal.transition(cancelled(due[1:2], incarnation, 2))
        expired = [Transition(due[2], OrderState.EXPIRED, "HOLD_EXPIRED")]
        await journal.transition(TransitionBatch(expired, [Spend(incarnation, 3, {"tea": -1})], b"", 0, LATER))
        assert await lease.due_holds(10) == due[3:]


async def test_one_at_a_time_expires_holds(journal: Journal) -> None:
    async with journal.lease_holds() as first:
        assert first is not None
        async with journal.lease_holds() as second:
            assert second is None
        async with journal.lease_outbox() as other_work:
            assert other_work is not None
    async with journal.lease_holds() as third:
        assert third is not None


async def test_a_reason_comes_back_as_it_was(journal: Journal) -> None:
    incarnation = await registered(journal)
    (order,) = await placed(journal, incarnation, [new_order()])
    reason = "späti 🍵 '); DROP TABLE orders --"
    await journal.transition(cancelled([order], incarnation, 2, reason))
    (after,) = (await journal.find_orders([order.order_id])).values()
    assert after.reason == reason
    assert after.lines == (Line("tea", 1),)
