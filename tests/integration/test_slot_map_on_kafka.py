"""The relay's publisher places by the slot maps of the journal, and everybody can read them on Kafka before."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition

from journal.postgres import PostgresJournal
from journal.postgres_slot_maps import PostgresSlotMaps
from relay.kafka_log import KafkaLog
from relay.opening import open_publisher
from sluice.kafka_topics import RELAY_TOPICS, TOPIC_SLOT_MAPS, UnusableTopic, make_topics, partition_counts
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED, Event, Position
from sluice.slot_map import SlotMap, first_seats
from sluice.slots import slot_of
from tests.journals import new_postgres_database

pytestmark = pytest.mark.servers

JOURNAL = uuid4()


@pytest.fixture
async def slot_maps(postgres_url: str) -> AsyncIterator[PostgresSlotMaps]:
    async with new_postgres_database(postgres_url) as url:
        journal = await PostgresJournal.open(url, timeout_s=30)
        opened = PostgresSlotMaps(url, timeout_s=30)
        yield opened
        await opened.close()
        await journal.close()


def event(key: str, number: int) -> Event:
    time_ms = round(datetime.now(UTC).timestamp() * 1000)
    return Event(TOPIC_ORDER_CREATED, key, b"", f"{key}/{number}", "test", time_ms, Position(JOURNAL, number, 0))


async def test_topics_are_made_with_first_maps_and_placed_by_later_ones(
    slot_maps: PostgresSlotMaps, kafka_bootstrap: str
) -> None:
    publisher = await open_publisher(kafka_bootstrap, slot_maps, partitions=4, replication_factor=1)
    counts = await partition_counts(kafka_bootstrap, RELAY_TOPICS)
    first = await slot_maps.in_force()
    assert {topic: each.seats for topic, each in first.items()} == {
        topic: first_seats(count) for topic, count in counts.items()
    }
    count = counts[TOPIC_ORDER_CREATED]
    moved_to = tuple(count - 1 - partition for partition in first_seats(count))
    try:
        await publisher.place_by(list(first.values()), JOURNAL)
        await publisher.publish([event(f"key-{i}", 1) for i in range(20)])
        second = SlotMap(TOPIC_ORDER_CREATED, 1, 2, moved_to, {0: 5})
        await publisher.place_by([*first.values(), second], JOURNAL)
        await publisher.publish([event(f"key-{i}", 2) for i in range(20)])
    finally:
        await publisher.close()
    logged = [
        entry
        async for entry in KafkaLog(kafka_bootstrap).read(TOPIC_ORDER_CREATED, follow=False)
        if entry.event.position.journal == JOURNAL
    ]
    assert len(logged) == 40
    for entry in logged:
        seats = first_seats(count) if entry.event.position.number == 1 else moved_to
        assert entry.partition == seats[slot_of(entry.event.key)]
    assert [(each["topic"], each["epoch"]) for each in mirrored(kafka_bootstrap)] == [
        *((topic, 0) for topic in first),
        (TOPIC_ORDER_CREATED, 1),
    ]
    assert mirrored(kafka_bootstrap)[-1]["seats"] == list(moved_to)


def mirrored(bootstrap: str) -> list[dict[str, object]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "raw", "enable.auto.commit": False})
    _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC_SLOT_MAPS, 0), timeout=10)
    consumer.assign([TopicPartition(TOPIC_SLOT_MAPS, 0, 0)])
    values = []
    while len(values) < end:
        values += [json.loads(message.value() or b"") for message in consumer.consume(end, 5)]
    consumer.close()
    return [value for value in values if value["journal"] == str(JOURNAL)]


async def test_slots_on_partitions_that_a_topic_has_not_are_refused_by_name(
    slot_maps: PostgresSlotMaps, kafka_bootstrap: str
) -> None:
    await make_topics(kafka_bootstrap, [TOPIC_STOCK_CHANGED], partitions=4, replication_factor=1)
    await slot_maps.begin({TOPIC_STOCK_CHANGED: 4096})
    with pytest.raises(UnusableTopic, match=f"{TOPIC_STOCK_CHANGED}: has .* its slots are placed on 4096"):
        await open_publisher(kafka_bootstrap, slot_maps, partitions=4, replication_factor=1)
