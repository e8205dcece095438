"""Whose call named a trace finds it in the headers of the order's records on Kafka; others have none."""

import asyncio
from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.local.cluster import Cluster
from sluice.trace_context import TraceContext
from tests.integration.buying import Client, until
from tests.integration.cluster.conftest import audit_whole
from tests.integration.traces import place_in_many_ways

Identity = tuple[str, str, str]


def headers_on(bootstrap: str, expected: Mapping[Identity, object]) -> dict[Identity, dict[str, bytes]]:
    """The headers of each expected record that is there, as any Kafka client sees them."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "traces", "enable.auto.commit": False})
    found: dict[Identity, dict[str, bytes]] = {}
    try:
        for topic in {topic for topic, _, _ in expected}:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
            while messages := consumer.consume(10_000, timeout=3.0):
                for message in messages:
                    assert message.error() is None
                    headers = dict(message.headers())
                    identity = (topic, message.key().decode(), headers["ce_id"].decode())
                    if identity in expected:
                        found[identity] = headers
    finally:
        consumer.close()
    return found


def as_headers(trace: TraceContext | None) -> tuple[bytes | None, bytes | None]:
    if trace is None:
        return None, None
    return trace.traceparent.encode(), trace.tracestate.encode() or None


async def test_records_carry_the_trace_of_the_call_that_caused_them(
    running: Cluster, clients: list[Client], name: str
) -> None:
    expected = await place_in_many_ways(clients[0], name)
    found: dict[Identity, dict[str, bytes]] = {}

    async def all_there() -> bool:
        found.update(await asyncio.to_thread(headers_on, running.endpoints.kafka, expected))
        return found.keys() == expected.keys()

    await until("every event is on Kafka", all_there, limit_s=60.0)
    shown = {identity: (each.get("traceparent"), each.get("tracestate")) for identity, each in found.items()}
    assert shown == {identity: as_headers(trace) for identity, trace in expected.items()}
    assert (await audit_whole(running)).findings == []
