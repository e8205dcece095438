"""Created orders are checked, validated and confirmed, one step after the other; ended ones are left alone."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.lifecycle import Check, Lifecycle, blocked_customers, more_units_than, older_than
from consumers.runtime.handling import Poison
from journal.events import decode_events, encode_order_events
from journal.protocol import Batch, Committed, Transition
from sluice.client.order_ids import new_order_id
from sluice.model import Line, NewOrder, OrderState
from sluice.seams.event_log import TOPIC_ORDER_CREATED, LoggedEvent
from sluice.trace_context import TraceContext
from tests.unit.compensation.parts import Shop, open_shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as opened:
        yield opened


async def created(shop: Shop) -> list[LoggedEvent]:
    rows = await shop.journal.read_outbox(0, 1_000)
    events = [event for row in rows for event in decode_events(row, shop.journal.journal_id)]
    return [LoggedEvent(event, 0, n) for n, event in enumerate(events) if event.topic == TOPIC_ORDER_CREATED]


async def topics(shop: Shop) -> list[str]:
    rows = await shop.journal.read_outbox(0, 1_000)
    return [event.topic for row in rows for event in decode_events(row, shop.journal.journal_id)]


def lifecycle(shop: Shop, *checks: Check, counted: Counter[str] | None = None) -> Lifecycle:
    def count(outcome: str, orders: int) -> None:
        if counted is not None:
            counted[outcome] += orders

    return Lifecycle(shop.journal.find_orders, shop.move, checks, count, now=lambda: datetime.now(UTC), share=1.0)


async def hold(shop: Shop, customer_id: str = "anna") -> str:
    now = datetime.now(UTC)
    held = NewOrder(new_order_id(), customer_id, (Line("tea", 1),), timedelta(hours=1))
    events, count = encode_order_events([held], now)
    assert await shop.journal.commit(Batch([held], [], events, count, now)) == Committed()
    shop.placed.append(held)
    return held.order_id


async def test_each_step_is_an_event(shop: Shop) -> None:
    (order_id,) = await shop.place({"tea": 1})
    await lifecycle(shop).handle(await created(shop))
    order = (await shop.orders())[order_id]
    assert (order.state, order.version) == (OrderState.CONFIRMED, 3)
    assert await topics(shop) == ["order-created", "stock-changed", "order-validated", "order-confirmed"]


async def test_its_steps_belong_to_the_trace_in_which_the_order_was_placed(shop: Shop) -> None:
    traced, plain = await shop.place({"tea": 1}), await shop.place({"tea": 1})
    trace = TraceContext(f"00-{'4b' * 16}-{'00f0' * 4}-01")
    placed = [
        each._replace(event=each.event._replace(trace=trace if each.event.key in traced else None))
        for each in await created(shop)
    ]
    await lifecycle(shop).handle(placed)
    rows = await shop.journal.read_outbox(0, 100)
    events = [event for row in rows for event in decode_events(row, shop.journal.journal_id)]
    steps = {(event.key, event.topic): event.trace for event in events if event.event_id[-2:] in ("/2", "/3")}
    topics = ("order-validated", "order-confirmed")
    assert steps == {(key, topic): trace if key in traced else None for key in (*traced, *plain) for topic in topics}


async def test_an_event_that_comes_again_changes_nothing(shop: Shop) -> None:
    await shop.place({"tea": 1}, {"tea": 2})
    consumer = lifecycle(shop)
    for _ in range(3):
        await consumer.handle(await created(shop))
    assert {order.version for order in (await shop.orders()).values()} == {3}


async def test_a_crash_between_the_steps_is_gone_over(shop: Shop) -> None:
    (order_id,) = await shop.place({"tea": 1})
    await shop.move([Transition((await shop.orders())[order_id], OrderState.VALIDATED)])
    await lifecycle(shop, more_units_than(0)).handle(await created(shop))  # it was checked before
    assert (await shop.orders())[order_id].state is OrderState.CONFIRMED


@pytest.mark.parametrize(
    "check",
    [blocked_customers(frozenset({"anna"})), older_than(timedelta(seconds=-1)), more_units_than(2)],
    ids=lambda check: check.reason,
)
async def test_a_check_that_fails_cancels_with_its_reason_and_returns_the_units(shop: Shop, check: Check) -> None:
    (order_id,) = await shop.place({"tea": 2, "mug": 1})
    await lifecycle(shop, check).handle(await created(shop))
    order = (await shop.orders())[order_id]
    assert (order.state, order.reason) == (OrderState.CANCELLED, check.reason)
    assert (await shop.sold("tea"), await shop.sold("mug")) == (0, 0)


async def test_only_those_that_fail_are_cancelled(shop: Shop) -> None:
    small, large = await shop.place({"tea": 2}, {"tea": 3})
    counted: Counter[str] = Counter()
    checks = (blocked_customers(frozenset({"eve"})), more_units_than(2))
    await lifecycle(shop, *checks, counted=counted).handle(await created(shop))
    standing = await shop.orders()
    assert standing[small].state is OrderState.CONFIRMED
    assert standing[large].reason == "TOO_MANY_UNITS"
    assert counted == {"VALIDATED": 1, "CONFIRMED": 1, "TOO_MANY_UNITS": 1}


async def test_the_first_check_that_fails_gives_the_reason(shop: Shop) -> None:
    (order_id,) = await shop.place({"tea": 3})
    await lifecycle(shop, blocked_customers(frozenset({"anna"})), more_units_than(2)).handle(await created(shop))
    assert (await shop.orders())[order_id].reason == "CUSTOMER_BLOCKED"


async def test_held_and_cancelled_orders_are_left_alone(shop: Shop) -> None:
    held = await hold(shop)
    (cancelled,) = await shop.place({"tea": 1})
    await shop.cancel(cancelled)
    counted: Counter[str] = Counter()
    await lifecycle(shop, more_units_than(2), counted=counted).handle(await created(shop))
    standing = await shop.orders()
    assert standing[held].state is OrderState.HELD
    assert standing[cancelled].state is OrderState.CANCELLED
    assert not counted


async def test_a_hold_is_no_way_around_the_checks(shop: Shop) -> None:
    blocked, other = await hold(shop, "eve"), await hold(shop, "anna")
    await lifecycle(shop, blocked_customers(frozenset({"eve"}))).handle(await created(shop))
    standing = await shop.orders()
    assert (standing[blocked].state, standing[blocked].reason) == (OrderState.CANCELLED, "CUSTOMER_BLOCKED")
    assert standing[other].state is OrderState.HELD


async def test_a_hold_that_its_client_confirmed_is_left_alone(shop: Shop) -> None:
    confirmed = await hold(shop, "eve")
    await shop.move([Transition((await shop.orders())[confirmed], OrderState.CONFIRMED)])
    await lifecycle(shop, blocked_customers(frozenset({"eve"}))).handle(await created(shop))
    assert (await shop.orders())[confirmed].state is OrderState.CONFIRMED


async def test_an_event_without_an_order_is_poison(shop: Shop) -> None:
    await shop.place({"tea": 1})
    (logged,) = await created(shop)
    unknown = logged._replace(event=logged.event._replace(key="0194c5f0-0000-7000-8000-000000000002"))
    with pytest.raises(Poison):
        await lifecycle(shop).handle([unknown])
