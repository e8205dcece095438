"""Whose call named a trace finds it with the events of the order, in the one process as on Kafka."""

from functools import partial

from tests.integration.buying import Client
from tests.integration.embedded.conftest import Embedded, logged_events
from tests.integration.traces import events_of, place_in_many_ways


async def test_events_belong_to_the_trace_of_the_call_that_caused_them(
    clients: list[Client], name: str, gateway: Embedded
) -> None:
    expected = await place_in_many_ways(clients[0], name)
    found = await events_of(partial(logged_events, gateway), list(expected))
    assert {identity: event.trace for identity, event in found.items()} == expected
