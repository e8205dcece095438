"""Kafka as the event log, read back."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from sluice.cloud_events import UnreadableRecord, read_event
from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import ANSWER_LIMIT_S, CLIENT_LOG_LEVEL, partition_counts
from sluice.seams.event_log import LoggedEvent

CONSUME_EVENTS = 200
"""At a time. Of more, what was made first has left the processor's cache when it is used: measured, 3.2 µs an event at
this size and 6.2 µs at 1,000."""

CONSUME_WAIT_S = 0.1
"""`consume` does not hear of cancellation before this is over."""

NO_LEADER_PAUSE_S = 0.05
"""A leader is there within some 10 ms on a broker that is up."""

STALL_LIMIT_S = 15.0
"""A read that must end, and gets nothing for so long, says that Kafka is away."""

_kafka_logger = logging.getLogger("sluice.kafka")


_Place = tuple[str, int]
"""(topic, partition)"""


class KafkaLog:
    """Reads without a group: every read starts at the oldest record, and commits nothing."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    async def read(self, topic: str, *, follow: bool) -> AsyncIterator[LoggedEvent]:
        """See EventLog: events of one partition in order, partitions as they come. Partitions added while following
        are not read. Raises LogUnreachable, UnusableTopic, UnreadableRecord.
        """
        counts = await partition_counts(self._bootstrap, [topic])
        async with self._consumer() as consumer:
            ends = None if follow else await asyncio.to_thread(_ends, consumer, counts)
            starts = dict.fromkeys(_partitions(counts) if ends is None else ends, OFFSET_BEGINNING)
            async for page in _pages(consumer, starts, ends):
                for logged in page:
                    yield logged

    async def read_pages(self, topics: Sequence[str]) -> AsyncIterator[Iterator[LoggedEvent]]:
        """See EventLog. Raises as `read` does."""
        counts = await partition_counts(self._bootstrap, topics)
        async with self._consumer() as consumer:
            ends = await asyncio.to_thread(_ends, consumer, counts)
            async for page in _pages(consumer, dict.fromkeys(ends, OFFSET_BEGINNING), ends):
                yield page

    async def read_since(self, topic: str, since: datetime) -> AsyncIterator[LoggedEvent]:
        """As `read`, of what was published since then, up to the moment of the call."""
        counts = await partition_counts(self._bootstrap, [topic])
        async with self._consumer() as consumer:
            ends = await asyncio.to_thread(_ends, consumer, counts)
            starts = await asyncio.to_thread(_starts, consumer, ends, since)
            newer = {place: ends[place] for place in starts}
            async for page in _pages(consumer, starts, newer):
                for logged in page:
                    yield logged

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[Consumer]:
        consumer = Consumer(
            {
                **client_properties(self._bootstrap),
                # Required by the client; nothing is ever committed under this name.
                "group.id": f"sluice-reader-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                # The default lets a full local queue hold up a partition for a second.
                "fetch.queue.backoff.ms": 10,
                # Beside each message the client keeps several times as much. Measured on 800,000 events: 1 MB ahead is
                # as fast as 16, and the process stays at 165 MB instead of 389.
                "queued.max.messages.kbytes": 1_024,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": CLIENT_LOG_LEVEL,
            },
            logger=_kafka_logger,
        )
        try:
            yield consumer
        finally:
            await asyncio.to_thread(consumer.close)

    async def close(self) -> None:
        """Each read closes what it opened."""


def _partitions(counts: Mapping[str, int]) -> list[_Place]:
    return [(topic, partition) for topic, count in counts.items() for partition in range(count)]


def _ends(consumer: Consumer, counts: Mapping[str, int]) -> dict[_Place, int]:
    """One past the last record; partitions that hold nothing are left out."""
    ends = {}
    deadline = time.monotonic() + ANSWER_LIMIT_S
    for place in _partitions(counts):
        low, high = _marks(consumer, TopicPartition(*place), deadline)
        if low < high:
            ends[place] = high
    return ends


def _marks(consumer: Consumer, partition: TopicPartition, deadline: float) -> tuple[int, int]:
    """Asked again until the deadline: a partition that was just made, or moved, has no leader for a moment."""
    while True:
        try:
            marks = consumer.get_watermark_offsets(partition, timeout=ANSWER_LIMIT_S)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise LogUnreachable(str(error)) from error
            time.sleep(NO_LEADER_PAUSE_S)
            continue
        if marks is None:
            raise LogUnreachable(f"no answer for the end of {partition} in {ANSWER_LIMIT_S:g} s")
        return marks


def _starts(consumer: Consumer, ends: Mapping[_Place, int], since: datetime) -> dict[_Place, int]:
    """The first record of each partition that is not older; partitions without one are left out."""
    asked = [TopicPartition(*place, int(since.timestamp() * 1000)) for place in ends]
    try:
        found = consumer.offsets_for_times(asked, timeout=ANSWER_LIMIT_S)
    except KafkaException as error:
        raise LogUnreachable(str(error)) from error
    starts = {(each.topic, each.partition): each.offset for each in found}
    return {place: offset for place, offset in starts.items() if 0 <= offset < ends[place]}


async def _pages(
    consumer: Consumer, starts: Mapping[_Place, int], ends: dict[_Place, int] | None
) -> AsyncIterator[Iterator[LoggedEvent]]:
    """Until every partition in `ends` is read up to there; for ever if None."""
    consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
    heard = time.monotonic()
    while ends is None or ends:
        # What is here already needs no thread, whose hand-over takes as long as a quarter of the page.
        messages = consumer.consume(CONSUME_EVENTS, 0)
        if messages:
            await asyncio.sleep(0)  # whoever else is on the loop has a turn
        else:
            messages = await asyncio.to_thread(consumer.consume, CONSUME_EVENTS, CONSUME_WAIT_S)
        if messages:
            heard = time.monotonic()
        elif ends is not None and time.monotonic() - heard > STALL_LIMIT_S:
            raise LogUnreachable(f"nothing came for {STALL_LIMIT_S:g} s, not at their ends are {sorted(ends)}")
        yield _logged_events(messages, ends)


def _logged_events(messages: Sequence[Message], ends: dict[_Place, int] | None) -> Iterator[LoggedEvent]:
    """Those that lie before the ends. Takes out the ends that are reached."""
    for message in messages:
        if (error := message.error()) is not None:
            if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):  # noqa: SLF001
                continue
            raise LogUnreachable(str(error))
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        if ends is not None:
            end = ends.get((topic, partition), 0)
            if offset >= end - 1:
                ends.pop((topic, partition), None)
            if offset >= end:
                continue
        try:
            event = read_event(topic, message.key(), message.value(), message.headers(), offset)
        except UnreadableRecord as error:
            raise UnreadableRecord(f"{topic}/{partition} at {offset}: {error}") from error
        yield LoggedEvent(event, partition, offset)
