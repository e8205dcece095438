"""Kafka as the event log: what is published comes back as it was, each key in order in the partition of its slot."""

import asyncio
import random
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from journal.events import decode_events, encode_order_events
from journal.protocol import OutboxRow
from relay.kafka_log import KafkaLog
from relay.kafka_publisher import KafkaPublisher
from sluice.errors import LogUnreachable
from sluice.kafka_topics import UnusableTopic, make_topics, partition_counts
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED, Event, LoggedEvent
from sluice.slot_map import first_maps
from sluice.slots import slot_of
from tests.integration.buying import until

pytestmark = pytest.mark.servers

TIME = datetime(2026, 11, 20, 12, 30, 0, 123_000, tzinfo=UTC)
PARTITIONS = 4


def events_of(orders: int, number: int = 1, suffix: str = "") -> list[Event]:
    """Events on topics of this test's own."""
    batch = [NewOrder(str(uuid4()), "anna", (Line(f"sku-{i % 7}", 1),)) for i in range(orders)]
    payload, count = encode_order_events(batch, TIME)
    events = decode_events(OutboxRow(number, TIME, payload, count), uuid4())
    return [event._replace(topic=f"{event.topic}{suffix}") for event in events]


async def topics_of_this_test(bootstrap: str) -> tuple[str, dict[str, int]]:
    suffix = f"-{uuid4().hex[:8]}"
    names = [f"{topic}{suffix}" for topic in (TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED)]
    return suffix, dict(await make_topics(bootstrap, names, partitions=PARTITIONS, replication_factor=1))


async def read_all(bootstrap: str, topic: str) -> list[LoggedEvent]:
    return [logged async for logged in KafkaLog(bootstrap).read(topic, follow=False)]


async def test_events_come_back_as_they_were_each_key_in_order_in_its_slots_partition(kafka_bootstrap: str) -> None:
    suffix, counts = await topics_of_this_test(kafka_bootstrap)
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    batches = [events_of(500, number, suffix) for number in (1, 2, 3)]
    try:
        for batch in batches:
            await publisher.publish(batch)
    finally:
        await publisher.close()

    for topic in counts:
        sent = [event for batch in batches for event in batch if event.topic == topic]
        logged = await read_all(kafka_bootstrap, topic)
        assert len(logged) == 1500
        assert {entry.event for entry in logged} == set(sent)
        assert all(entry.partition == slot_of(entry.event.key) % PARTITIONS for entry in logged)
        for key in {event.key for event in sent}:
            assert [entry.event for entry in logged if entry.event.key == key] == [e for e in sent if e.key == key]


async def test_pages_hold_every_event_of_several_topics_and_end_where_the_log_ended(kafka_bootstrap: str) -> None:
    suffix, counts = await topics_of_this_test(kafka_bootstrap)
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    before, after = events_of(3_000, 1, suffix), events_of(300, 2, suffix)
    await publisher.publish(before)
    log = KafkaLog(kafka_bootstrap)
    read: list[LoggedEvent] = []
    async for page in log.read_pages(list(counts)):
        if not read:
            await publisher.publish(after)
        read += page
    await publisher.close()
    assert len(read) == len(before)
    assert {logged.event for logged in read} == set(before)
    places = [(logged.event.topic, logged.partition) for logged in read]
    for place in set(places):
        offsets = [logged.offset for logged, its in zip(read, places, strict=True) if its == place]
        assert offsets == list(range(len(offsets)))
    assert len([logged async for page in log.read_pages(list(counts)) for logged in page]) == len(before + after)


async def test_a_record_is_a_cloud_event_in_binary_mode(kafka_bootstrap: str) -> None:
    suffix, counts = await topics_of_this_test(kafka_bootstrap)
    created, _ = events_of(1, 42, suffix)
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    await publisher.publish([created])
    await publisher.close()

    consumer = Consumer({"bootstrap.servers": kafka_bootstrap, "group.id": "raw", "enable.auto.commit": False})
    consumer.assign([TopicPartition(created.topic, slot_of(created.key) % PARTITIONS, 0)])
    record = consumer.poll(10)
    consumer.close()
    assert record is not None
    assert record.key() == created.key.encode()
    assert record.value() == created.value
    assert dict(record.headers() or ()) == {
        "ce_specversion": b"1.0",
        "ce_id": f"{created.key}/1".encode(),
        "ce_source": f"/sluice/{created.position.journal}".encode(),
        "ce_type": b"sluice.order.created.v1",
        "ce_time": b"2026-11-20T12:30:00.123Z",
        "content-type": b"application/protobuf",
        "sluice-position": f"{created.position.journal}/42/0".encode(),
    }


async def test_a_closed_publisher_refuses_and_releases_those_who_wait(kafka_bootstrap: str) -> None:
    suffix, counts = await topics_of_this_test(kafka_bootstrap)
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    await publisher.close()
    with pytest.raises(LogUnreachable):
        await publisher.publish(events_of(1, 1, suffix))


async def test_an_event_that_kafka_refuses_fails_the_publisher_and_nothing_follows_it(kafka_bootstrap: str) -> None:
    suffix, counts = await topics_of_this_test(kafka_bootstrap)
    first, _, last, _ = events_of(2, 1, suffix)
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    too_large = first._replace(value=bytes(2_000_000))
    try:
        with pytest.raises(LogUnreachable):
            await publisher.publish([too_large])
        with pytest.raises(LogUnreachable):
            await publisher.publish([last])
    finally:
        await publisher.close()
    assert await read_all(kafka_bootstrap, first.topic) == []


async def test_what_a_broker_refuses_for_good_stops_all_that_comes_after_it(kafka_bootstrap: str) -> None:
    """Not a limit of the client, which would say so at once: the topic's own, found out when the batch is there."""
    suffix = f"-{uuid4().hex[:8]}"
    events = [event for event in events_of(300, 1, suffix) if event.topic.startswith(TOPIC_ORDER_CREATED)]
    small, large, after = events[:100], events[100], events[101:]
    topic = NewTopic(large.topic, PARTITIONS, 1, config={"max.message.bytes": "60000"})
    await made(kafka_bootstrap, topic)
    counts = dict(await partition_counts(kafka_bootstrap, [large.topic]))
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    try:
        await publisher.publish(small)
        with pytest.raises(LogUnreachable):
            await asyncio.gather(
                publisher.publish([large._replace(value=random.randbytes(100_000))]),
                publisher.publish(after),
            )
        with pytest.raises(LogUnreachable):
            await publisher.publish(after)
    finally:
        await publisher.close()
    logged = [entry.event for entry in await read_all(kafka_bootstrap, large.topic)]
    refused_at = slot_of(large.key) % PARTITIONS
    assert [event for event in logged if slot_of(event.key) % PARTITIONS == refused_at] == [
        event for event in small if slot_of(event.key) % PARTITIONS == refused_at
    ]


async def test_a_record_refused_in_the_middle_of_a_publication_ends_it_in_its_partition(kafka_bootstrap: str) -> None:
    suffix = f"-{uuid4().hex[:8]}"
    events = [event for event in events_of(300, 1, suffix) if event.topic.startswith(TOPIC_ORDER_CREATED)]
    topic = events[0].topic
    await made(kafka_bootstrap, NewTopic(topic, 1, 1, config={"max.message.bytes": "60000"}))
    publisher = KafkaPublisher(kafka_bootstrap, first_maps({topic: 1}))
    large = events[150]._replace(value=random.randbytes(100_000))
    try:
        with pytest.raises(LogUnreachable):
            await publisher.publish([*events[:150], large, *events[151:]])
    finally:
        await publisher.close()
    logged = [entry.event for entry in await read_all(kafka_bootstrap, topic)]
    assert logged == events[: len(logged)]
    assert len(logged) <= 150


async def test_topics_are_made_once_and_never_changed(kafka_bootstrap: str) -> None:
    topic = f"kept-{uuid4().hex[:8]}"
    assert await make_topics(kafka_bootstrap, [topic], partitions=8, replication_factor=1) == {topic: 8}
    assert await make_topics(kafka_bootstrap, [topic], partitions=16, replication_factor=1) == {topic: 8}


async def test_a_topic_whose_partitions_do_not_divide_the_slots_is_refused_by_name(kafka_bootstrap: str) -> None:
    topic = f"twelve-{uuid4().hex[:8]}"
    await made(kafka_bootstrap, NewTopic(topic, num_partitions=12, replication_factor=1))
    with pytest.raises(UnusableTopic, match=f"{topic}: has 12 partitions"):
        await partition_counts(kafka_bootstrap, [topic])


async def made(bootstrap: str, topic: NewTopic) -> None:
    """With Kafka's own means. The controller answers before the brokers have heard of it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([topic])[topic.topic].result()

    async def is_known() -> bool:
        known = await asyncio.to_thread(admin.list_topics, timeout=5)
        return topic.topic in known.topics

    await until("the broker knows the topic", is_known)


async def test_a_missing_topic_is_named(kafka_bootstrap: str) -> None:
    with pytest.raises(UnusableTopic, match="no-such-topic"):
        await read_all(kafka_bootstrap, "no-such-topic")
