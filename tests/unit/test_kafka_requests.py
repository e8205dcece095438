"""Orders are appended to Kafka and found by their position, as far as the client's own mock broker can show it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from gateway import kafka_requests
from gateway.kafka_requests import KafkaRequests
from relay.kafka_log import KafkaLog
from sluice.errors import LogUnreachable
from sluice.model import Line, NewOrder, QueuePosition
from sluice.order_requests import OrderRequest, decode_request, queue_key
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED
from sluice.seams.request_log import QueuedOrder

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MOCK_PARTITIONS = 4
"""The mock broker makes every topic with so many."""

NOWHERE = "127.0.0.1:1"
FIND_AT_ONCE_S = 0.5


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(kafka_requests, "ORDER_REQUESTED_PARTITIONS", MOCK_PARTITIONS)
    mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored", "log_level": 0})
    mock.list_topics(TOPIC_ORDER_REQUESTED, timeout=10)  # makes it
    (broker,) = mock.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    mock.flush(0)  # it lives as long as its producer


def requests(count: int) -> list[OrderRequest]:
    holds = (None, timedelta(minutes=1))
    return [
        OrderRequest(NewOrder(str(uuid4()), "anna", (Line(f"sku-{n % 7}", 1),), holds[n % 2], n % 3), NOW)
        for n in range(count)
    ]


async def test_each_order_has_its_position_and_those_of_a_key_are_in_order(bootstrap: str) -> None:
    log = KafkaRequests(bootstrap)
    await log.ping()
    batches = [requests(300), requests(1), requests(200)]
    positions = [position for batch in batches for position in await log.append(batch)]
    queued = dict(zip(positions, [request for batch in batches for request in batch], strict=True))
    assert len(queued) == 501
    read = [entry async for entry in KafkaLog(bootstrap).read(TOPIC_ORDER_REQUESTED, follow=False)]
    assert {QueuePosition(each.partition, each.offset): decode_request(each.event.value) for each in read} == queued
    by_key: dict[str, list[QueuePosition]] = {}
    for position, request in queued.items():
        by_key.setdefault(queue_key(request.order.lines), []).append(position)
    assert all(positions == sorted(positions) for positions in by_key.values())
    assert all(len({position.partition for position in positions}) == 1 for positions in by_key.values())
    await log.close()


async def test_an_order_is_found_at_its_position_and_nowhere_else(bootstrap: str) -> None:
    log = KafkaRequests(bootstrap)
    batch = requests(100)
    positions = await log.append(batch)
    for request, position in zip(batch[::-7], positions[::-7], strict=True):
        begun = time.monotonic()
        assert await log.find(request.order.order_id, position) == QueuedOrder(request, position)
        assert time.monotonic() - begun < FIND_AT_ONCE_S
    order_id = batch[0].order.order_id
    elsewhere = (positions[1], QueuePosition(positions[0].partition, 10**6), QueuePosition(MOCK_PARTITIONS, 0), None)
    assert [await log.find(order_id, position) for position in elsewhere] == [None] * len(elsewhere)
    await log.close()


async def test_a_broker_that_is_away_is_said_to_be() -> None:
    log = KafkaRequests(NOWHERE)
    with pytest.raises(LogUnreachable):
        await log.ping()
    with pytest.raises(LogUnreachable):
        await log.append(requests(3))
    with pytest.raises(LogUnreachable):
        await log.find(str(uuid4()), QueuePosition(0, 0))
    await log.close()
