"""Whose call named a trace finds it with the events of the order, in the one process as on Kafka."""

from functools import partial

from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_ORDER_REJECTED
from tests.integration.buying import CALL_LIMIT_S, Client, create_skus
from tests.integration.embedded.conftest import Embedded, logged_events
from tests.integration.queued import Ticket, outcome_of, queued_order
from tests.integration.traces import events_of, metadata, new_trace, place_in_many_ways


async def test_events_belong_to_the_trace_of_the_call_that_caused_them(
    clients: list[Client], name: str, gateway: Embedded
) -> None:
    expected = await place_in_many_ways(clients[0], name)
    found = await events_of(partial(logged_events, gateway), list(expected))
    assert {identity: event.trace for identity, event in found.items()} == expected


async def test_what_becomes_of_a_queued_order_belongs_to_the_trace_of_the_call_that_queued_it(
    clients: list[Client], name: str, gateway: Embedded
) -> None:
    await create_skus(clients[0], [name], 1)
    expected = {}
    for topic, outcome in ((TOPIC_ORDER_CREATED, "CREATED"), (TOPIC_ORDER_REJECTED, "REJECTED")):
        request, trace = queued_order({name: 1}), new_trace("shop=queue")
        response = await clients[0].place_order(request, timeout=CALL_LIMIT_S, metadata=metadata(trace))
        state, _ = await outcome_of(clients[0], Ticket(request.order_id, response.order.queue_position))
        assert state == outcome
        expected[topic, request.order_id, f"{request.order_id}/1"] = trace
    found = await events_of(partial(logged_events, gateway), list(expected))
    assert {identity: event.trace for identity, event in found.items()} == expected
