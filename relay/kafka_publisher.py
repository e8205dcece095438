"""Kafka as the event log: the relay's publisher."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from relay.opened_partitions import OpenedPartitions, Place
from sluice.cloud_events import HeaderWriter
from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import ANSWER_LIMIT_S, CLIENT_LOG_LEVEL, TOPIC_SLOT_MAPS
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, Event
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

NEW_PARTITIONS_PAUSE_S = 0.05
"""Between looks for partitions that were just made; brokers hear of them within some 10 ms."""

CONNECTION_TROUBLE = (KafkaError._TRANSPORT, KafkaError._RESOLVE)  # noqa: SLF001
"""Comes for every broker and every try; when none is left, _ALL_BROKERS_DOWN says so."""

_log = structlog.get_logger(__name__)
_kafka_logger = logging.getLogger("sluice.kafka")

_LastOfEach = Mapping[str, Mapping[int, int]]
"""Topic → partition → index of its last event."""


class _Publication:
    """One call of `publish`: done when the last event of each partition is acknowledged, which then says the same of
    all before it: an idempotent producer's partition is acknowledged in order once it is open (OpenedPartitions), and
    an event that fails ends it. A report for every event would cost as much as sending it. Touched by the poll thread
    only, once enqueued.
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
        self._opened = OpenedPartitions(time.monotonic)
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
        for some in (new[:1], new[1:]):  # the first alone: see OpenedPartitions
            if some:
                await self._mirror(some, journal)
        self._mirrored |= {(each.topic, each.epoch) for each in new}
        self._seats = {topic: slot_map.seats for topic, slot_map in in_force.items()}

    async def _mirror(self, maps: Sequence[SlotMap], journal: UUID) -> None:
        done = self._loop.create_future()
        mirror = _Publication(len(maps), done, self._finished)
        self._waiting.add(done)
        try:
            if self._failure is not None:
                raise self._failure
            for slot_map in maps:
                key, value = published_form(slot_map, journal)
                self._producer.produce(TOPIC_SLOT_MAPS, value, key, 0, mirror.reported)
            await done
        except (BufferError, KafkaException) as error:
            self._fail(str(error))
            raise LogUnreachable(str(error)) from error
        finally:
            self._waiting.discard(done)

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
                time.sleep(NEW_PARTITIONS_PAUSE_S)

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
        enqueued = False
        try:
            partitions, last = self._places(events)
            if unopened := self._opened.unopened(last):
                first = _first_of_each(unopened, events, partitions)
                await self._open([events[index] for index in first])
                events = [event for index, event in enumerate(events) if index not in first]
                partitions, last = self._places(events)
            if events:
                await self._produce(events, partitions, last, done)
                self._opened.written(last)
            elif not done.done():
                done.set_result(None)
            enqueued = True
        except KafkaException as error:
            self._fail(str(error))
            raise LogUnreachable(str(error)) from error
        finally:
            if not enqueued:
                self._fail("an earlier call was broken off")

    async def _open(self, events: Sequence[Event]) -> None:
        """Until these are acknowledged: one of each partition."""
        acknowledged = self._loop.create_future()
        self._waiting.add(acknowledged)
        try:
            partitions, last = self._places(events)
            await self._produce(events, partitions, last, acknowledged)
            await acknowledged
            self._opened.written(last)
        finally:
            self._waiting.discard(acknowledged)

    async def _produce(
        self, events: Sequence[Event], partitions: Sequence[int], last: _LastOfEach, done: "asyncio.Future[None]"
    ) -> None:
        """`done` is when all of them are acknowledged. Raises KafkaException."""
        reporting = {index for of_topic in last.values() for index in of_topic.values()}
        reported = _Publication(len(reporting), done, self._finished).reported
        produce = self._producer.produce
        headers = self._headers.headers
        for index, (event, partition) in enumerate(zip(events, partitions, strict=True)):
            topic, key, value, *_ = event
            on_delivery = reported if index in reporting else None
            while True:
                try:
                    produce(topic, value, key, partition, on_delivery, headers=headers(event))
                    break
                except BufferError:
                    await asyncio.sleep(QUEUE_FULL_PAUSE_S)

    def _places(self, events: Sequence[Event]) -> tuple[Sequence[int], _LastOfEach]:
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
        return partitions, last

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


def _first_of_each(places: Collection[Place], events: Sequence[Event], partitions: Sequence[int]) -> Collection[int]:
    """The index of the first event of each of these."""
    first: dict[Place, int] = {}
    for index, (event, partition) in enumerate(zip(events, partitions, strict=True)):
        if (place := (event.topic, partition)) in places:
            first.setdefault(place, index)
    return set(first.values())
