"""A broker refuses the first records of a partition, and takes those that were under way behind them: none is lost."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from deploy.local import kafka, packages
from deploy.local.ports import LOOPBACK, free_port
from gateway.kafka_requests import KafkaRequests
from journal.events import decode_events, encode_order_events
from journal.protocol import OutboxRow
from relay.kafka_log import KafkaLog
from relay.kafka_publisher import KafkaPublisher
from sluice.errors import LogUnreachable
from sluice.kafka_topics import make_request_topic, make_slot_map_topic, make_topics
from sluice.model import Line, NewOrder
from sluice.order_requests import OrderRequest, decode_request
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_ORDER_REQUESTED, Event
from sluice.slot_map import first_maps
from tests.integration.reluctant_leader import ReluctantLeader
from tests.servers import running, server_directory

pytestmark = pytest.mark.servers

DOOR = "127.0.0.2"
"""Where the broker tells its clients to come to."""

FEW = 2
"""The client sends a second request to a partition only while fewer than five records are under way to it."""

ANSWERED_S = 5.0
"""The queue's own limit is shorter."""

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


ATTEMPTS = 5
"""On a busy machine an order's time may be up more than once."""


@pytest.fixture(scope="module")
def broker() -> Iterator[kafka.Broker]:
    port = free_port()
    broker = kafka.Broker("kafka", port, free_port(taken=[port]), reached_at=DOOR)
    with server_directory() as directory:
        java = packages.require().java
        with running(kafka.create(directory / "kafka", [broker], 0, java, directory / "kafka.log")):
            yield broker


@pytest.fixture
async def topic(broker: kafka.Broker) -> str:
    """A topic of this test's own, with one partition, made while its leader is not reluctant."""
    topic = f"{TOPIC_ORDER_CREATED}-{uuid4().hex[:8]}"
    async with ReluctantLeader(DOOR, LOOPBACK, broker.port, "none").serving():
        await make_topics(broker.bootstrap, [topic], partitions=1, replication_factor=1)
        await make_request_topic(broker.bootstrap, replication_factor=1)
        await make_slot_map_topic(broker.bootstrap, replication_factor=1)
    return topic


def events_of(topic: str, orders: int, number: int) -> list[Event]:
    batch = [NewOrder(str(uuid4()), "anna", (Line("lamp", 1),)) for _ in range(orders)]
    payload, count = encode_order_events(batch, NOW)
    events = decode_events(OutboxRow(number, NOW, payload, count), uuid4())
    return [event._replace(topic=topic) for event in events if event.topic == TOPIC_ORDER_CREATED]


async def test_events_are_all_on_the_log_and_in_order(broker: kafka.Broker, topic: str) -> None:
    leader = ReluctantLeader(DOOR, LOOPBACK, broker.port, topic)
    async with leader.serving():
        publisher = KafkaPublisher(broker.bootstrap, first_maps({topic: 1}))
        batches = [events_of(topic, orders, number) for number, orders in ((1, FEW), (2, 20), (3, 20))]
        first = asyncio.ensure_future(publisher.publish(batches[0]))
        await leader.asked.wait()
        await asyncio.gather(first, *map(publisher.publish, batches[1:]))
        await publisher.close()
        logged = [entry.event async for entry in KafkaLog(broker.bootstrap).read(topic, follow=False)]
    assert leader.refusals == 1
    assert logged == [event for batch in batches for event in batch]


async def appended_at_last(log: KafkaRequests, requests: list[OrderRequest]) -> None:
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(LogUnreachable):
            await log.append(requests)
            return
    await log.append(requests)


async def test_an_order_that_is_told_to_be_queued_is_in_the_queue(broker: kafka.Broker, topic: str) -> None:
    leader = ReluctantLeader(DOOR, LOOPBACK, broker.port, TOPIC_ORDER_REQUESTED)
    async with leader.serving():
        log = KafkaRequests(broker.bootstrap)
        requests = [OrderRequest(NewOrder(str(uuid4()), "anna", (Line("lamp", 1),), None, 0), NOW) for _ in range(20)]
        first = asyncio.ensure_future(log.append(requests[:FEW]))
        await leader.asked.wait()
        async with asyncio.timeout(ANSWERED_S):
            told = await asyncio.gather(first, log.append(requests[FEW:]), return_exceptions=True)
        for appended, answer in zip((requests[:FEW], requests[FEW:]), told, strict=True):
            if isinstance(answer, LogUnreachable):
                assert answer.outcome_unknown
                await appended_at_last(log, appended)  # as whoever hears so does
            else:
                assert not isinstance(answer, BaseException)
        await log.close()
        read = [entry async for entry in KafkaLog(broker.bootstrap).read(TOPIC_ORDER_REQUESTED, follow=False)]
    assert leader.overtaken == 1
    assert {decode_request(each.event.value).order.order_id for each in read} == {
        request.order.order_id for request in requests
    }
