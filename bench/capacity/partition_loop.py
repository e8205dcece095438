"""`python -m bench.capacity.partition_loop`: the relay's publisher by itself, on a topic with so many partitions."""

import asyncio
import gc
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import uvloop

from bench.orders import SOME_SKUS, OrderSource
from bench.workers import read_settings, say_ready, say_result
from commands.process import GC_THRESHOLDS
from journal.events import decode_events, encode_order_events
from journal.protocol import OutboxRow
from relay.kafka_publisher import KafkaPublisher
from relay.relaying import CHUNK_EVENTS, MAX_EVENTS_IN_FLIGHT
from sluice.kafka_topics import make_topics
from sluice.seams.event_log import Event
from sluice.slot_map import first_maps


@dataclass(frozen=True)
class PartitionLoop:
    kafka: str
    topic: str
    partitions: int
    warm_events: int
    events: int


async def drive(settings: PartitionLoop) -> None:
    await make_topics(settings.kafka, [settings.topic], partitions=settings.partitions, replication_factor=1)
    chunk = _chunk(settings.topic)
    publisher = KafkaPublisher(settings.kafka, first_maps({settings.topic: settings.partitions}))

    async def publish(events: int) -> float:
        places = asyncio.Semaphore(MAX_EVENTS_IN_FLIGHT // CHUNK_EVENTS)
        started = time.perf_counter()

        async def publishing() -> None:
            async with places:
                await publisher.publish(chunk)

        await asyncio.gather(*(publishing() for _ in range(events // len(chunk))))
        return time.perf_counter() - started

    await publish(settings.warm_events)
    say_ready()
    elapsed_s = await publish(settings.events)
    say_result({"events": settings.events // len(chunk) * len(chunk), "elapsed_s": elapsed_s})
    await publisher.close()


def _chunk(topic: str) -> list[Event]:
    """As many as the relay publishes at once, made as a gateway makes them."""
    now = datetime.now(UTC)
    payload, count = encode_order_events(OrderSource(SOME_SKUS).rows(CHUNK_EVENTS // 2), now)
    events = decode_events(OutboxRow(1, now, payload, count), uuid4())
    return [event._replace(topic=topic) for event in events]


if __name__ == "__main__":
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(drive(PartitionLoop(**read_settings())))
