"""Calls that belong to a trace, and what is to be seen of them on the log, wherever that is."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import uuid4

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from sluice.seams.event_log import (
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CREATED,
    TOPIC_STOCK_CHANGED,
    Event,
)
from sluice.trace_context import TRACEPARENT, TRACESTATE, TraceContext
from tests.integration.buying import CALL_LIMIT_S, Client, create_skus, order

ReadTopic = Callable[[str], Awaitable[Sequence[Event]]]


def new_trace(tracestate: str = "") -> TraceContext:
    return TraceContext(f"00-{uuid4().hex}-{uuid4().hex[:15]}1-01", tracestate)


def metadata(trace: TraceContext) -> tuple[tuple[str, str], ...]:
    state = ((TRACESTATE, trace.tracestate),) if trace.tracestate else ()
    return ((TRACEPARENT, trace.traceparent), *state)


async def place_in_many_ways(client: Client, sku: str) -> dict[tuple[str, str, str], TraceContext | None]:
    """Each event that follows, as (topic, key, event id), and the trace that it must have."""
    await create_skus(client, [sku], 1_000)
    expected: dict[tuple[str, str, str], TraceContext | None] = {}

    def expect(topic: str, request: orders_pb2.PlaceOrderRequest, version: int, trace: TraceContext | None) -> None:
        event_id = f"{request.order_id}/{version}"
        expected[topic, request.order_id, event_id] = trace
        if topic in (TOPIC_ORDER_CREATED, TOPIC_ORDER_CANCELLED):
            expected[TOPIC_STOCK_CHANGED, sku, f"{event_id}/{sku}"] = trace

    async def place(request: orders_pb2.PlaceOrderRequest, trace: TraceContext | None, sent: TraceContext) -> None:
        await client.place_order(request, timeout=CALL_LIMIT_S, metadata=metadata(sent))
        expect(TOPIC_ORDER_CREATED, request, 1, trace)

    held, ended, traces = order({sku: 1}, hold_s=600), order({sku: 1}), [new_trace() for _ in range(4)]
    plain = [order({sku: 1}) for _ in range(20)]
    spans = [new_trace("shop=till-7,bank=x") if number % 2 else new_trace() for number in range(20)]
    # All at once: they share transactions, and so outbox rows, with orders of no trace.
    await asyncio.gather(
        place(held, traces[0], traces[0]),
        place(ended, traces[1], traces[1]),
        place(order({sku: 1}), None, TraceContext("00-not-a-trace-01")),
        *(place(order({sku: 1}), span, span) for span in spans),
        *(client.place_order(request, timeout=CALL_LIMIT_S) for request in plain),
    )
    for request in plain:
        expect(TOPIC_ORDER_CREATED, request, 1, None)
    # Sent again from another span it is the same order, and nothing new on the log.
    again = await client.place_order(ended, timeout=CALL_LIMIT_S, metadata=metadata(new_trace()))
    assert again.replayed

    confirm = orders_pb2.ConfirmOrderRequest(order_id=held.order_id)
    await client.confirm_order(confirm, timeout=CALL_LIMIT_S, metadata=metadata(traces[2]))
    expect(TOPIC_ORDER_CONFIRMED, held, 2, traces[2])
    cancel = orders_pb2.CancelOrderRequest(order_id=ended.order_id)
    await client.cancel_order(cancel, timeout=CALL_LIMIT_S, metadata=metadata(traces[3]))
    expect(TOPIC_ORDER_CANCELLED, ended, 2, traces[3])
    cancel = orders_pb2.CancelOrderRequest(order_id=held.order_id)
    await client.cancel_order(cancel, timeout=CALL_LIMIT_S)
    expect(TOPIC_ORDER_CANCELLED, held, 3, None)

    whole_stream = new_trace("shop=stream")
    streamed = [order({sku: 1}) for _ in range(50)]
    await _place_on_a_stream(client, streamed, whole_stream)
    for request in streamed:
        expect(TOPIC_ORDER_CREATED, request, 1, whole_stream)
    return expected


async def _place_on_a_stream(
    client: Client, orders: Sequence[orders_pb2.PlaceOrderRequest], trace: TraceContext
) -> None:
    stream = client.place_orders(metadata=metadata(trace))
    await stream.write(orders_pb2.PlaceOrdersRequest(batch_id=1, orders=orders))
    await stream.done_writing()
    outcomes = [result.outcome async for answer in stream for result in answer.results]
    assert outcomes == [orders_pb2.Outcome.Value(f"OUTCOME_{ACCEPTED}")] * len(orders)


async def events_of(read: ReadTopic, expected: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], Event]:
    """Those of the expected events that are on the log."""
    wanted = set(expected)
    found = {}
    for topic in {topic for topic, _, _ in expected}:
        for event in await read(topic):
            if (identity := (topic, event.key, event.event_id)) in wanted:
                found[identity] = event
    return found
