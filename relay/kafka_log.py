"""Kafka as the event log: the relay's publisher, and reading back."""

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from sluice.cloud_events import HeaderWriter, UnreadableRecord, read_event
from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import ANSWER_LIMIT_S, CLIENT_LOG_LEVEL, TOPIC_SLOT_MAPS, partition_counts
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, Event, LoggedEvent
from sluice.slot_map import SlotMap, published_form, used_partitions
from sluice.slots import slot_of, slot_of_sku

POLL_S = 0.05
"""Longest sleep of the thread that takes acknowledgements; it only delays closing."""

QUEUE_FULL_PAUSE_S = 0.005
"""The producer's queue is larger than the relay's window, so only a single huge row fills it."""

QUEUE_MESSAGES = 150_000
"""Five times what the relay lets be in flight."""

QUEUE_KBYTES = 65_536
"""30,000 events in flight of at most a few KB each; the process is to stay below 150 MB."""

CLOSE_LIMIT_S = 5.0
"""The poll thread ends within POLL_S; a longer wait would only hide that it is stuck."""

CONSUME_EVENTS = 200
"""At a time. Of more, what was made first has left the processor's cache when it is used: measured, 3.2 µs an event at
this size and 6.2 µs at 1,000."""

CONSUME_WAIT_S = 0.1
"""`consume` does not hear of cancellation before this is over."""

NO_LEADER_PAUSE_S = 0.05
"""A leader is there within some 10 ms on a broker that is up."""

STALL_LIMIT_S = 15.0
"""A read that must end, and gets nothing for so long, says that Kafka is away."""

CONNECTION_TROUBLE = (KafkaError._TRANSPORT, KafkaError._RESOLVE)  # noqa: SLF001
"""Comes for every broker and every try; when none is left, _ALL_BROKERS_DOWN says so."""

_log = structlog.get_logger(__name__)
_kafka_logger = logging.getLogger("sluice.kafka")


class _Publication:
    """One call of `publish`: done when the last event of each partition is acknowledged, which then says the same of
    all before it: an idempotent producer's partition is acknowledged in order, and an event that fails ends it. A
    report for every event would cost as much as sending it. Touched by the poll thread only, once enqueued.
    """

    __slots__ = ("done", "error", "finished", "unreported")

    def __init__(self, partitions: int, done: "asyncio.Future[None]", finished: "list[_Publication]") -> None:
        self.unreported = partitions
        self.done = done
        self.error: KafkaError | None = None
        self.finished = finished

    def reported(self, error: KafkaError | None, _: Message) -> None:
        self.unreported -= 1
        if error is not None and self.error is None:
            self.error = error
        if not self.unreported:
            self.finished.append(self)


class KafkaPublisher:
    """Publishes with an explicit partition. After the first failure it stays failed: events that are enqueued after a
    lost one would stand before it on the log.
    """

    def __init__(self, bootstrap: str, maps: Mapping[str, SlotMap]) -> None:
        """`maps` places the events of every topic until `place_by` says otherwise."""
        self._seats = {topic: slot_map.seats for topic, slot_map in maps.items()}
        self._mirrored: set[tuple[str, int]] = set()
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            {
                **client_properties(bootstrap),
                # acks=all, and order is kept when a request is sent again.
                "enable.idempotence": True,
                # An event that cannot be delivered stops the producer instead of being followed by its successors.
                # Documented not to cover delivery timeouts; there are none.
                "enable.gapless.guarantee": True,
                "delivery.timeout.ms": 0,
                # Events of a batch of orders go to 32 partitions, and each request to Kafka costs the same however
                # little is in it: at 5 ms Kafka used 15 µs of CPU an order, at 25 ms 4 µs (30,000 orders/s).
                "linger.ms": 50,
                "compression.type": "lz4",
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": QUEUE_MESSAGES,
                "queue.buffering.max.kbytes": QUEUE_KBYTES,
                # The backlog starts to drain this soon after a broker is back; the default is 10 s.
                "reconnect.backoff.max.ms": 1_000,
                "error_cb": self._client_error,
                "log_level": CLIENT_LOG_LEVEL,
            },
            logger=_kafka_logger,
        )
        self._headers = HeaderWriter()
        self._in_order = asyncio.Lock()
        self._finished: list[_Publication] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._failure: LogUnreachable | None = None
        self._closing = False
        self._told_brokers_are_away = False
        self._poll_thread = threading.Thread(target=self._poll, name="kafka-acknowledgements", daemon=True)
        self._poll_thread.start()

    async def place_by(self, maps: Sequence[SlotMap], journal: UUID) -> None:
        """See EventPublisher. What was published before keeps its place. Raises LogUnreachable."""
        new = [each for each in maps if (each.topic, each.epoch) not in self._mirrored]
        if not new:
            return
        in_force = {each.topic: each for each in maps}
        await asyncio.to_thread(self._know_partitions, list(in_force.values()))
        done = self._loop.create_future()
        mirror = _Publication(len(new), done, self._finished)
        self._waiting.add(done)
        try:
            if self._failure is not None:
                raise self._failure
            for slot_map in new:
                key, value = published_form(slot_map, journal)
                self._producer.produce(TOPIC_SLOT_MAPS, value, key, 0, mirror.reported)
            await done
        except (BufferError, KafkaException) as error:
            self._fail(str(error))
            raise LogUnreachable(str(error)) from error
        finally:
            self._waiting.discard(done)
        self._mirrored |= {(each.topic, each.epoch) for each in new}
        self._seats = {topic: slot_map.seats for topic, slot_map in in_force.items()}

    def _know_partitions(self, maps: Sequence[SlotMap]) -> None:
        """The client refuses to write to a partition that it has not heard of; by itself it asks every few minutes."""
        deadline = time.monotonic() + ANSWER_LIMIT_S
        for slot_map in maps:
            wanted = used_partitions(slot_map.seats)
            while True:
                try:
                    known = self._producer.list_topics(slot_map.topic, timeout=ANSWER_LIMIT_S).topics[slot_map.topic]
                except KafkaException as error:
                    raise LogUnreachable(str(error)) from error
                if len(known.partitions) >= wanted:
                    break
                if time.monotonic() > deadline:
                    reason = f"{slot_map.topic} has {len(known.partitions)} partitions, its slots are on {wanted}"
                    raise LogUnreachable(reason)
                time.sleep(NO_LEADER_PAUSE_S)

    async def publish(self, events: Sequence[Event]) -> None:
        """See EventPublisher. Raises LogUnreachable; from then on every call does."""
        if not events:
            return
        done = self._loop.create_future()
        self._waiting.add(done)
        try:
            async with self._in_order:
                await self._enqueue(events, done)
            del events  # the client has copied them
            await done
        finally:
            self._waiting.discard(done)

    async def _enqueue(self, events: Sequence[Event], done: "asyncio.Future[None]") -> None:
        if self._failure is not None:
            raise self._failure
        produce = self._producer.produce
        headers = self._headers.headers
        partitions, reporting = self._places(events)
        publication = _Publication(len(reporting), done, self._finished)
        reported = publication.reported
        enqueued = 0
        try:
            for event, partition in zip(events, partitions, strict=True):
                topic, key, value, *_ = event
                on_delivery = reported if enqueued in reporting else None
                while True:
                    try:
                        produce(topic, value, key, partition, on_delivery, headers=headers(event))
                        break
                    except BufferError:
                        await asyncio.sleep(QUEUE_FULL_PAUSE_S)
                enqueued += 1
        except KafkaException as error:
            self._fail(str(error))
            raise LogUnreachable(str(error)) from error
        finally:
            if enqueued < len(events):
                self._fail("an earlier call was broken off")

    def _places(self, events: Sequence[Event]) -> tuple[Sequence[int], AbstractSet[int]]:
        """The partition of each event, and which of them are the last of their partition."""
        partitions: list[int] = []
        last: dict[str, dict[int, int]] = {}
        for index, event in enumerate(events):
            topic, key = event[:2]
            # Order ids never repeat; remembering their slots would push the SKUs out of the cache.
            slot = slot_of_sku(key) if topic == TOPIC_STOCK_CHANGED else slot_of(key)
            partition = self._seats[topic][slot]
            partitions.append(partition)
            if topic in last:
                last[topic][partition] = index
            else:
                last[topic] = {partition: index}
        return partitions, {index for of_topic in last.values() for index in of_topic.values()}

    async def close(self) -> None:
        """Drops what is not acknowledged yet; calls that wait for it raise LogUnreachable."""
        self._fail("the publisher was closed")
        self._closing = True
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._producer.purge()
        self._poll_thread.join(CLOSE_LIMIT_S)

    def _poll(self) -> None:
        while not self._closing:
            try:
                self._producer.poll(POLL_S)
            except KafkaException as error:
                # How the client tells that it has given up for good: no delivery reports come after it.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._fail, str(error))
                return
            if self._finished:
                finished = self._finished.copy()
                self._finished.clear()
                # The loop may be gone when the process ends without closing.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._acknowledge, finished)

    def _acknowledge(self, finished: Sequence[_Publication]) -> None:
        for publication in finished:
            if publication.error is not None:
                self._fail(str(publication.error))
                continue
            if self._told_brokers_are_away:
                self._told_brokers_are_away = False
                _log.info("kafka_reachable_again")
            if not publication.done.done():
                publication.done.set_result(None)

    def _fail(self, reason: str) -> None:
        if self._failure is None:
            self._failure = LogUnreachable(reason, outcome_unknown=True)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(self._failure)
                # Marks it as seen: whoever waited may have been cancelled.
                waiting.exception()

    def _client_error(self, error: KafkaError) -> None:
        """Called by the poll thread. Brokers that are away are the client's own business, said once until they are
        back; a fatal error ends the producer.
        """
        if error.fatal():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._fail, str(error))
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the client's names for its own errors
            if not self._told_brokers_are_away:
                self._told_brokers_are_away = True
                _log.warning("kafka_unreachable", error=error.str())
        elif error.code() not in CONNECTION_TROUBLE:
            _log.warning("kafka_client_error", error=str(error))


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
