"""A second member joins a group, and leaves it again: how late events become, and of how many partitions.

The plain client's default (`classic`, eager) stops every partition whenever anybody comes or goes; the runtime keeps
what it has under `classic` (cooperative) and under `consumer` (KIP-848).
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

from confluent_kafka import Consumer as KafkaConsumer
from prometheus_client import CollectorRegistry

from bench.events.brokers import Brokers, make_topic
from bench.events.marked import Mark, MarkedProducer, mark_of, steadily
from bench.events.progress import Say
from consumers.runtime.consuming import consume_kafka
from consumers.runtime.handling import Consumer
from consumers.runtime.meters import Meters
from sluice.kafka_topics import CLIENT_LOG_LEVEL
from sluice.seams.event_log import LoggedEvent
from sluice.slots import slot_of

PARTITIONS = 16
KEYS = 400
RATE_PER_S = 2_000
STAGE_S = 4.0
"""One member, then two, then one again."""

START_LIMIT_S = 60.0
LATE_S = 0.25
"""Later than this is nothing that polling and batching explain."""

Membership = Literal["plain client, classic", "runtime, classic", "runtime, consumer"]
MEMBERSHIPS: Sequence[Membership] = ("plain client, classic", "runtime, classic", "runtime, consumer")


class Arrivals:
    """When each event was handled, whoever did it."""

    def __init__(self) -> None:
        self.delays: list[tuple[float, float, int]] = []
        self.some = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def note(self, mark: Mark) -> None:
        now = time.perf_counter()
        self.delays.append((now, now - mark.sent, slot_of(mark.key) % PARTITIONS))
        self._loop.call_soon_threadsafe(self.some.set)


def measure(brokers: Brokers, say: Say, share: float) -> dict[str, Any]:
    """`share` of the time that a full run takes."""
    found = {}
    for membership in MEMBERSHIPS:
        found[membership] = asyncio.run(_run(brokers, membership, STAGE_S * share))
        say(f"{membership}: {found[membership]['longest_delay_ms']:,.0f} ms at most")
    return {"partitions": PARTITIONS, "rate_per_s": RATE_PER_S, "late_ms": 1000 * LATE_S, "memberships": found}


async def _run(brokers: Brokers, membership: Membership, stage_s: float) -> dict[str, Any]:
    topic = make_topic(brokers, PARTITIONS)
    producer = MarkedProducer(brokers, topic, PARTITIONS, KEYS)
    group = f"g{uuid4().hex[:8]}"
    arrivals = Arrivals()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_member(brokers, membership, group, topic, arrivals))
        stack.enter_context(steadily(producer, RATE_PER_S))
        async with asyncio.timeout(START_LIMIT_S):
            await arrivals.some.wait()
        await asyncio.sleep(stage_s)
        began = time.perf_counter()
        async with _member(brokers, membership, group, topic, arrivals):
            await asyncio.sleep(stage_s)
            leaving = time.perf_counter()
        await asyncio.sleep(stage_s)
    delays = [each for each in arrivals.delays if each[0] >= began]
    late = {partition for _, delay, partition in delays if delay > LATE_S}
    joined = [delay for now, delay, _ in delays if now < leaving]
    left = [delay for now, delay, _ in delays if now >= leaving]
    return {
        "events": len(delays),
        "longest_delay_ms": 1000 * max(delay for _, delay, _ in delays),
        "longest_delay_joining_ms": 1000 * max(joined),
        "longest_delay_leaving_ms": 1000 * max(left),
        "late_partitions": len(late),
        "late_events": sum(delay > LATE_S for _, delay, _ in delays),
    }


@asynccontextmanager
async def _member(
    brokers: Brokers, membership: Membership, group: str, topic: str, arrivals: Arrivals
) -> AsyncIterator[None]:
    if membership == "plain client, classic":
        plain = _PlainMember(brokers, group, topic, arrivals)
        try:
            yield
        finally:
            await asyncio.to_thread(plain.leave)
        return
    stopping = asyncio.Event()

    async def handle(events: Sequence[LoggedEvent]) -> None:
        for logged in events:
            arrivals.note(mark_of(logged))

    consuming = asyncio.create_task(
        consume_kafka(
            Consumer(group, [topic], handle),
            brokers.bootstrap,
            Meters(CollectorRegistry()),
            stopping,
            lanes=16,
            protocol="classic" if membership == "runtime, classic" else "consumer",
            replication_factor=brokers.copies,
            drain_limit_s=10,
        )
    )
    try:
        yield
    finally:
        stopping.set()
        await consuming


class _PlainMember:
    """`subscribe` and `consume` with the client's own defaults for the group."""

    def __init__(self, brokers: Brokers, group: str, topic: str, arrivals: Arrivals) -> None:
        self._consumer = KafkaConsumer(
            {
                "bootstrap.servers": brokers.bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "log_level": CLIENT_LOG_LEVEL,
            }
        )
        self._consumer.subscribe([topic])
        self._arrivals = arrivals
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._leaving.is_set():
            for message in self._consumer.consume(500, 0.05):
                key, value = message.key(), message.value()
                if message.error() is None and key is not None and value is not None:
                    turn, sent = value.split()
                    self._arrivals.note(Mark(key.decode(), int(turn), float(sent)))
        self._consumer.close()

    def leave(self) -> None:
        self._leaving.set()
        self._thread.join()
