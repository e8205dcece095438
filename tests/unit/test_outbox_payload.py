"""What the hand-made encoding writes is what the generated classes read, and comes back as the events it stands for."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from google.protobuf.internal.decoder import _DecodeVarint32
from hypothesis import given
from hypothesis import strategies as st

from journal.events import (
    MalformedOutboxRow,
    decode_events,
    encode_order_events,
    encode_rejection_events,
    encode_transition_events,
)
from journal.protocol import OutboxRow, Rejection, Transition
from sluice._gen.events.v1.events_pb2 import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    OrderValidated,
    OutboxEvent,
    StockChanged,
)
from sluice.model import (
    HOLDS_UNITS,
    MAX_LINE_QUANTITY,
    MAX_LINES_PER_ORDER,
    MAX_NAME_CHARS,
    MAX_PRIORITY,
    Line,
    NewOrder,
    Order,
    OrderState,
)
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_ORDER_REJECTED, TOPIC_STOCK_CHANGED
from sluice.trace_context import TraceContext

JOURNAL = UUID("6b1f5a4e-6f0a-4a53-9d53-0d8f6a0a0c11")
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=MAX_NAME_CHARS)
LINES = st.lists(
    st.builds(Line, NAMES, st.integers(1, MAX_LINE_QUANTITY)),
    min_size=1,
    max_size=MAX_LINES_PER_ORDER,
    unique_by=lambda line: line.sku,
).map(lambda lines: tuple(sorted(lines)))
PRIORITIES = st.just(0) | st.integers(0, MAX_PRIORITY)
TRACES = st.sampled_from(
    [None, TraceContext(f"00-{'4b' * 16}-{'00f0' * 4}-01"), TraceContext(f"00-{'a0' * 16}-{'b7' * 8}-00", "shop=1")]
)
HOLDS = st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=30))
ORDERS = st.lists(st.builds(NewOrder, st.uuids().map(str), NAMES, LINES, HOLDS, PRIORITIES, TRACES), max_size=5)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
STANDING = st.builds(
    Order, st.uuids().map(str), NAMES, LINES, st.sampled_from(sorted(HOLDS_UNITS)), TIMES, TIMES, st.integers(1, 2**31)
)
STEPS = st.tuples(st.sampled_from(["VALIDATED", "CONFIRMED"]).map(OrderState.__getitem__), st.just("")) | st.tuples(
    st.sampled_from(["CANCELLED", "EXPIRED"]).map(OrderState.__getitem__), NAMES | st.just("")
)
TRANSITIONS = st.lists(
    st.builds(lambda order, step, trace: Transition(order, *step, trace), STANDING, STEPS, TRACES), max_size=5
)


def generated(payload: bytes) -> list[OutboxEvent]:
    """Without the entries that say to which trace those after them belong: they are no events."""
    return [each for each in entries(payload) if not each.HasField("trace_context")]


def entries(payload: bytes) -> list[OutboxEvent]:
    events = []
    at = 0
    while at < len(payload):
        size, at = _DecodeVarint32(payload, at)
        events.append(OutboxEvent.FromString(payload[at : at + size]))
        at += size
    return events


@given(ORDERS, TIMES)
def test_the_generated_classes_read_one_order_created_and_one_stock_changed_per_line(
    orders: list[NewOrder], time: datetime
) -> None:
    expected = []
    for order in orders:
        created = OrderCreated(order_id=order.order_id, customer_id=order.customer_id, version=1)
        created.priority = order.priority
        created.create_time.FromDatetime(time)
        for sku, quantity in order.lines:
            created.lines.add(sku=sku, quantity=quantity)
        if order.hold is not None:
            created.hold_end_time.FromDatetime(time + order.hold)
        expected.append(OutboxEvent(order_created=created))
        for sku, quantity in order.lines:
            changed = StockChanged(sku=sku, delta=-quantity, order_id=order.order_id, order_version=1)
            changed.time.FromDatetime(time)
            expected.append(OutboxEvent(stock_changed=changed))

    payload, count = encode_order_events(orders, time)

    assert generated(payload) == expected
    assert count == len(expected)


@given(TRANSITIONS, TIMES)
def test_the_generated_classes_read_a_change_of_state_and_the_units_that_go_back(
    transitions: list[Transition], time: datetime
) -> None:
    expected = []
    for order, state, reason, _ in transitions:
        who = {"order_id": order.order_id, "customer_id": order.customer_id, "version": order.version + 1}
        if state in HOLDS_UNITS:
            kind, message_type = {
                OrderState.VALIDATED: ("order_validated", OrderValidated),
                OrderState.CONFIRMED: ("order_confirmed", OrderConfirmed),
            }[state]
            message = message_type(**who)
            message.time.FromDatetime(time)
            expected.append(OutboxEvent(**{kind: message}))
            continue
        cancelled = OrderCancelled(**who, reason=reason)
        cancelled.time.FromDatetime(time)
        for sku, quantity in order.lines:
            cancelled.lines.add(sku=sku, quantity=quantity)
        expected.append(OutboxEvent(order_cancelled=cancelled))
        for sku, quantity in order.lines:
            changed = StockChanged(
                sku=sku, delta=quantity, order_id=order.order_id, order_version=order.version + 1, time=cancelled.time
            )
            expected.append(OutboxEvent(stock_changed=changed))

    payload, count = encode_transition_events(transitions, time)

    assert generated(payload) == expected
    assert count == len(expected)
    events = decode_events(OutboxRow(7, time, payload, count), JOURNAL)
    assert [event.trace for event in events] == [
        step.trace for step in transitions for _ in range(1 + (len(step.order.lines) if step.returns_units else 0))
    ]
    assert [event.value for event in events] == [
        getattr(message, str(message.WhichOneof("body"))).SerializeToString() for message in expected
    ]


def test_changes_of_state_come_back_on_the_topics_of_their_kind_under_the_new_version() -> None:
    time = datetime(2026, 11, 20, tzinfo=UTC)
    order = Order("0d4c7a10-6a39-4c3e-9d2f-7f2f9a1b2c3d", "anna", (Line("tea", 2),), OrderState.HELD, time, time, 1)
    steps = [
        Transition(order, OrderState.VALIDATED),
        Transition(order._replace(version=2), OrderState.CONFIRMED),
        Transition(order._replace(version=3), OrderState.CANCELLED, "CLIENT"),
        Transition(order._replace(version=4), OrderState.EXPIRED, "HOLD_EXPIRED"),
    ]
    payload, count = encode_transition_events(steps, time)
    events = decode_events(OutboxRow(7, time, payload, count), JOURNAL)
    assert [(event.topic, event.key, event.event_id, event.event_type) for event in events] == [
        ("order-validated", order.order_id, f"{order.order_id}/2", "sluice.order.validated.v1"),
        ("order-confirmed", order.order_id, f"{order.order_id}/3", "sluice.order.confirmed.v1"),
        ("order-cancelled", order.order_id, f"{order.order_id}/4", "sluice.order.cancelled.v1"),
        ("stock-changed", "tea", f"{order.order_id}/4/tea", "sluice.stock.changed.v1"),
        ("order-cancelled", order.order_id, f"{order.order_id}/5", "sluice.order.cancelled.v1"),
        ("stock-changed", "tea", f"{order.order_id}/5/tea", "sluice.stock.changed.v1"),
    ]


@pytest.mark.parametrize("state", [OrderState.CREATED, OrderState.HELD, OrderState.PENDING, OrderState.REJECTED])
def test_a_state_that_no_event_tells_is_never_written(state: OrderState) -> None:
    time = datetime(2026, 11, 20, tzinfo=UTC)
    order = Order("0d4c7a10-6a39-4c3e-9d2f-7f2f9a1b2c3d", "anna", (Line("tea", 2),), OrderState.HELD, time, time, 1)
    with pytest.raises(ValueError, match="no event tells"):
        encode_transition_events([Transition(order, state)], time)


@given(ORDERS, TIMES, st.integers(0, 2**53))
def test_a_row_comes_back_as_keyed_numbered_events(orders: list[NewOrder], time: datetime, number: int) -> None:
    payload, count = encode_order_events(orders, time)

    events = decode_events(OutboxRow(number, time, payload, count), JOURNAL)

    assert [event.position for event in events] == [(JOURNAL, number, place) for place in range(count)]
    assert [event.trace for event in events] == [order.trace for order in orders for _ in range(1 + len(order.lines))]
    identities = []
    for order in orders:
        identities.append((TOPIC_ORDER_CREATED, order.order_id, f"{order.order_id}/1", "sluice.order.created.v1"))
        for sku, _ in order.lines:
            identities.append((TOPIC_STOCK_CHANGED, sku, f"{order.order_id}/1/{sku}", "sluice.stock.changed.v1"))
    assert [(event.topic, event.key, event.event_id, event.event_type) for event in events] == identities
    whole_seconds = int(time.replace(microsecond=0).timestamp())
    assert {event.time_ms for event in events} <= {whole_seconds * 1000 + time.microsecond // 1000}
    bodies = [getattr(message, str(message.WhichOneof("body"))) for message in generated(payload)]
    kinds = {TOPIC_ORDER_CREATED: OrderCreated, TOPIC_STOCK_CHANGED: StockChanged}
    assert [kinds[event.topic].FromString(event.value) for event in events] == bodies


def test_a_trace_is_written_once_for_all_orders_in_a_row_that_belong_to_it() -> None:
    time = datetime(2026, 11, 20, tzinfo=UTC)
    trace = TraceContext(f"00-{'4b' * 16}-{'00f0' * 4}-01")
    plain = [NewOrder(str(UUID(int=number)), "anna", (Line("tea", 1),)) for number in range(6)]
    traced = [order._replace(trace=trace if 2 <= number < 5 else None) for number, order in enumerate(plain)]
    payload, count = encode_order_events(traced, time)
    assert count == 12
    assert [place for place, each in enumerate(entries(payload)) if each.HasField("trace_context")] == [4, 11]
    assert not any(each.HasField("trace_context") for each in entries(encode_order_events(plain, time)[0]))


def one_order() -> tuple[bytes, int]:
    order = NewOrder("0d4c7a10-6a39-4c3e-9d2f-7f2f9a1b2c3d", "anna", (Line("apple", 2), Line("pear", 1)))
    return encode_order_events([order], datetime(2026, 11, 20, tzinfo=UTC))


@given(st.data())
def test_a_damaged_row_is_refused_or_still_whole_events(data: st.DataObject) -> None:
    payload, count = one_order()
    at = data.draw(st.integers(0, len(payload) - 1))
    damaged = payload[:at] + bytes([data.draw(st.integers(0, 255))]) + payload[at + 1 :]
    row = OutboxRow(7, datetime(2026, 11, 20, tzinfo=UTC), damaged, count)
    with suppress(MalformedOutboxRow):
        assert len(decode_events(row, JOURNAL)) == count


def test_a_row_whose_time_is_none_is_refused() -> None:
    payload, count = one_order()
    seconds_tag = payload.rindex(b"\x08", 0, len(payload) - 1)
    nanos_instead = payload[:seconds_tag] + b"\x10" + payload[seconds_tag + 1 :]
    with pytest.raises(MalformedOutboxRow):
        decode_events(OutboxRow(7, datetime(2026, 11, 20, tzinfo=UTC), nanos_instead, count), JOURNAL)


@pytest.mark.parametrize("kept", range(1, 40))
def test_a_truncated_row_is_refused(kept: int) -> None:
    payload, count = one_order()
    with pytest.raises(MalformedOutboxRow):
        decode_events(OutboxRow(7, datetime(2026, 11, 20, tzinfo=UTC), payload[:-kept], count), JOURNAL)


def test_a_wrong_count_is_refused() -> None:
    payload, count = one_order()
    with pytest.raises(MalformedOutboxRow, match="holds 3 events instead of 4"):
        decode_events(OutboxRow(7, datetime(2026, 11, 20, tzinfo=UTC), payload, count + 1), JOURNAL)


def test_an_order_id_that_is_no_canonical_uuid_is_never_written() -> None:
    with pytest.raises(ValueError, match="not a canonical UUID"):
        encode_order_events([NewOrder("17", "anna", (Line("apple", 1),))], datetime(2026, 11, 20, tzinfo=UTC))


def test_a_customer_id_that_no_gateway_would_take_is_written_all_the_same() -> None:
    """It may come from a queue that another program wrote to."""
    customer = "ß" * 1_000
    order = NewOrder("0d4c7a10-6a39-4c3e-9d2f-7f2f9a1b2c3d", customer, (Line("apple", 1),))
    payload, _ = encode_order_events([order], datetime(2026, 11, 20, tzinfo=UTC))
    assert entries(payload)[0].order_created.customer_id == customer


@given(ORDERS, TIMES, NAMES, st.integers(0, 2**40))
def test_rejections(orders: list[NewOrder], time: datetime, reason: str, restocked: int) -> None:
    rejections = [Rejection(order, reason, order.lines[0].sku, restocked) for order in orders]
    payload, count = encode_rejection_events(rejections, time)
    events = decode_events(OutboxRow(1, time, payload, count), JOURNAL)
    assert [event.event_id for event in events] == [f"{order.order_id}/1" for order in orders]
    for event, rejection in zip(events, rejections, strict=True):
        message = OrderRejected.FromString(event.value)
        assert (event.topic, event.key) == (TOPIC_ORDER_REJECTED, rejection.order.order_id)
        assert (message.reason, message.sku, message.restocked) == tuple(rejection[1:])
        assert [(line.sku, line.quantity) for line in message.lines] == list(rejection.order.lines)
