"""Feeds the lanes from Kafka, as a member of a consumer group.

One thread polls: everything the client does with the group happens there, so partitions are given up in the order in
which the group says so, and membership survives whatever the event loop is busy with. Lists of records go to the event
loop; marks come back and are committed, with the positions beside them in the commit's metadata.
"""

import asyncio
import contextlib
import json
import logging
import sys
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar
from uuid import UUID

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.kafka_slot_maps import KafkaSlotMaps
from consumers.runtime.lanes import Lanes
from consumers.runtime.meters import ConsumerMeters
from consumers.runtime.moved_slots import MovedSlots
from consumers.runtime.records import START, Mark, Partition, Record, Unreadable
from sluice.cloud_events import UnreadableRecord, read_event
from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import ANSWER_LIMIT_S, CLIENT_LOG_LEVEL
from sluice.seams.event_log import LoggedEvent, new_tuple

T = TypeVar("T")

GroupProtocol = Literal["auto", "consumer", "classic"]
"""auto: consumer (KIP-848, brokers from 4.0), and classic where the broker does not have it."""

CONSUME_RECORDS = 1_000
"""One list for the event loop: what it costs besides its records is nothing, and decoding it takes some 5 ms."""

CONSUME_WAIT_S = 0.1
"""`consume` hears of nothing else before this is over."""

GO_ON_SHARE = 0.7
"""A full consumer goes on when it is full to this share. With half of it calls bring less, with nine tenths memory
grows."""

STALL_S = 1.0
"""So long a full consumer just does not ask for more. Only then it pauses its partitions, because pausing throws away
what the client has fetched ahead, and a consumer that pauses often fetches everything twice."""

COMMIT_S = 1.0
"""Between commits: a crash repeats about this much and what was in flight."""

QUIET_COMMIT_S = 0.2
"""Between commits while nothing is in flight: who moves slots waits until groups have committed what is there, and
with it all events wait."""

REVOKE_LIMIT_S = 5.0
"""For what is being handled when a partition is taken away. Others wait for it."""

LOOK_AT_MOVED_S = 0.2
"""Between looks how far the group is in the old places of slots, while something waits for that."""

LOOK_S = 1.0
"""Between looks into the dead-letter topics: how soon a replay that somebody asked for begins."""

SESSION_TIMEOUT_S = 10.0
"""How soon others take over from a process that died, under the classic protocol; under the other the broker says."""

MAX_POLL_INTERVAL_S = 300.0
"""The thread polls all the time; only a defect stops it for so long."""

_UNSUPPORTED = (KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE)  # noqa: SLF001 - the client's names
_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)  # noqa: SLF001
_AWAY_FROM_GROUP = (
    KafkaError._NO_OFFSET,  # noqa: SLF001 - nothing new to commit
    KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
)

_log = structlog.get_logger(__name__)
_kafka_logger = logging.getLogger("sluice.kafka")


class ProtocolUnsupported(Exception):
    """The broker does not have the consumer protocol."""


class KafkaPolling:
    """One membership, from `run` to its end."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        lanes: Lanes,
        meters: ConsumerMeters,
        *,
        protocol: Literal["consumer", "classic"],
        events_in_flight: int,
    ) -> None:
        self._group = group
        self._topics = list(topics)
        self._lanes = lanes
        self._meters = meters
        self._most_in_flight = events_in_flight
        self._go_on_below = round(events_in_flight * GO_ON_SHARE)
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._room = threading.Event()
        self._fed = threading.Event()
        self._fed.set()
        self._owned: set[Partition] = set()
        self._committed: dict[Partition, Mark] = {}
        self._moved = MovedSlots(KafkaSlotMaps(bootstrap).read_on)
        self._paused = False
        self._failure: BaseException | None = None
        self._consumer = Consumer(_settings(bootstrap, group, protocol, self._client_error), logger=_kafka_logger)
        lanes.on_room = self._something_finished

    async def run(self, stopping: asyncio.Event, drain_limit_s: float) -> None:
        """Until `stopping` is set; then what is being handled is finished within `drain_limit_s`, its marks are
        committed and the group is left. Raises ProtocolUnsupported.
        """
        polling = asyncio.create_task(asyncio.to_thread(self._poll, drain_limit_s))
        watching = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([polling, watching, *self._lanes.tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            self._room.set()
            watching.cancel()
        await polling
        for lane in self._lanes.tasks:
            if lane.done():
                lane.result()

    # Everything below runs in the polling thread, unless it says otherwise.

    def _poll(self, drain_limit_s: float) -> None:
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        next_commit = next_look = next_look_at_moved = time.monotonic()
        try:
            while not self._stopping.is_set():
                self._take_in()
                if self._failure is not None:
                    raise self._failure
                now = time.monotonic()
                if self._moved.waiting and now >= next_look_at_moved:
                    self._look_at_moved()
                    next_look_at_moved = time.monotonic() + LOOK_AT_MOVED_S
                quiet = self._lanes.in_flight == 0
                if now >= (next_commit - COMMIT_S + QUIET_COMMIT_S if quiet else next_commit):
                    next_commit = now + COMMIT_S
                    self._commit(self._ask(self._marks()), asynchronous=True)
                    self._measure_lag()
                if now >= next_look:
                    next_look = now + LOOK_S
                    with contextlib.suppress(LogUnreachable):  # seen again at the next look
                        self._ask(self._lanes.look_at_dead_letters())
        finally:
            try:
                self._leave(drain_limit_s)
            finally:
                self._consumer.close()

    def _take_in(self) -> None:
        if self._lanes.in_flight >= self._most_in_flight:
            self._wait_for_room()
            return
        self._receive(self._consumer.consume(CONSUME_RECORDS, CONSUME_WAIT_S))

    def _wait_for_room(self) -> None:
        self._room.clear()
        if self._lanes.in_flight < self._go_on_below or self._room.wait(STALL_S):
            return
        self._pause()
        while not (self._stopping.is_set() or self._failure):
            # Serves the group; brings nothing, except of partitions that have just come.
            message = self._consumer.poll(CONSUME_WAIT_S)
            if message is not None:
                self._receive([message])
            if self._lanes.in_flight < self._go_on_below:
                break
        self._resume()

    def _pause(self) -> None:
        self._paused = True
        self._meters.paused(True)
        self._consumer.pause([TopicPartition(*partition) for partition in self._owned])

    def _resume(self) -> None:
        self._paused = False
        self._meters.paused(False)
        self._consumer.resume([TopicPartition(*partition) for partition in self._owned - self._moved.waiting])

    def _receive(self, messages: Sequence[Message]) -> None:
        before = self._moved.waiting
        records = self._moved.sort_out(record for message in messages if (record := _record(message)) is not None)
        if waiting := self._moved.waiting - before:
            self._consumer.pause([TopicPartition(*partition) for partition in waiting])
        self._feed(records)

    def _look_at_moved(self) -> None:
        """How far the group is where slots came from, whoever of its members reads that."""
        awaited = self._moved.awaited
        try:
            asked = [TopicPartition(*partition) for partition in awaited]
            found = self._consumer.committed(asked, timeout=ANSWER_LIMIT_S) if asked else []
            finished = {}
            for each in found:
                left = Partition(each.topic, each.partition)
                finished[left] = max(0, each.offset)
                if finished[left] < awaited[left]:
                    # What retention has taken away nobody can finish.
                    marks = self._consumer.get_watermark_offsets(TopicPartition(*left), timeout=ANSWER_LIMIT_S)
                    finished[left] = max(finished[left], marks[0] if marks is not None else 0)
        except KafkaException as error:
            _log.warning("committed_offsets_unknown", consumer=self._group, error=str(error))
            return
        before = self._moved.waiting
        records = self._moved.look_again(finished)
        if going_on := before - self._moved.waiting:
            _log.info("moved_slots_read_on", consumer=self._group, partitions=_shown(going_on))
            if not self._paused:
                self._consumer.resume([TopicPartition(*partition) for partition in going_on])
        self._feed(records)

    def _feed(self, records: Sequence[Record]) -> None:
        """The next list goes only when the loop has taken the one before: a slow loop must not be buried."""
        if not records:
            return
        while not self._fed.wait(CONSUME_WAIT_S):
            if self._stopping.is_set():
                return
        self._fed.clear()
        self._loop.call_soon_threadsafe(self._feed_on_loop, records)

    def _feed_on_loop(self, records: Sequence[Record]) -> None:
        try:
            self._lanes.feed(records)
        except Exception as error:  # noqa: BLE001 - a defect must end the consumer, not only this callback
            self._failure = error
        finally:
            self._fed.set()

    def _something_finished(self) -> None:
        """On the event loop."""
        if not self._room.is_set() and self._lanes.in_flight < self._go_on_below:
            self._room.set()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            committed = self._committed_marks(consumer, partitions)
            self._ask_until_stopped(committed)
        except BaseException as error:  # noqa: BLE001 - what a callback raises is lost in the client
            self._failure = error
            return
        self._owned |= committed.keys()
        self._committed |= committed
        # An offset that is not known is left to auto.offset.reset.
        starts = [
            TopicPartition(*partition) if mark.offset is None else TopicPartition(*partition, mark.offset)
            for partition, mark in committed.items()
        ]
        consumer.incremental_assign(starts)
        if self._paused:
            consumer.pause(starts)
        _log.info("partitions_assigned", consumer=self._group, partitions=_shown(committed))

    def _ask_until_stopped(self, starts: Mapping[Partition, Mark]) -> None:
        while True:
            try:
                return self._ask(self._lanes.assign(starts))
            except LogUnreachable:
                if self._stopping.wait(LOOK_S):
                    raise

    def _committed_marks(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[Partition, Mark]:
        while True:
            try:
                found = consumer.committed(partitions, timeout=ANSWER_LIMIT_S)
                break
            except KafkaException as error:
                if self._stopping.is_set():
                    raise
                _log.warning("committed_offsets_unknown", consumer=self._group, error=str(error))
        marks = {}
        for each in found:
            if each.error is not None:
                raise KafkaException(each.error)
            marks[Partition(each.topic, each.partition)] = (
                START if each.offset < 0 else Mark(each.offset, read_places(each.metadata))
            )
        return marks

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._give_up(partitions, REVOKE_LIMIT_S)
        consumer.incremental_unassign(partitions)

    def _give_up(self, partitions: Sequence[TopicPartition], limit_s: float) -> None:
        leaving = [Partition(each.topic, each.partition) for each in partitions]
        try:
            marks = self._ask(self._lanes.revoke(leaving, limit_s))
            self._commit(marks, asynchronous=False)
        except BaseException as error:  # noqa: BLE001 - what a callback raises is lost in the client
            self._failure = error
        self._forget(leaving)
        _log.info("partitions_given_up", consumer=self._group, partitions=_shown(leaving))

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already: a commit would be refused, and should be."""
        leaving = [Partition(each.topic, each.partition) for each in partitions]
        self._ask(self._lose(leaving))
        self._forget(leaving)
        consumer.incremental_unassign(partitions)
        _log.warning("partitions_lost", consumer=self._group, partitions=_shown(leaving))

    def _forget(self, partitions: Sequence[Partition]) -> None:
        self._moved.forget(partitions)
        for partition in partitions:
            self._owned.discard(partition)
            self._committed.pop(partition, None)

    async def _lose(self, partitions: Sequence[Partition]) -> None:
        self._lanes.lose(partitions)

    def _leave(self, drain_limit_s: float) -> None:
        if self._owned:
            self._give_up([TopicPartition(*partition) for partition in self._owned], drain_limit_s)

    async def _marks(self) -> Mapping[Partition, Mark]:
        return self._lanes.marks()

    def _commit(self, marks: Mapping[Partition, Mark], *, asynchronous: bool) -> None:
        changed = {
            partition: mark
            for partition, mark in marks.items()
            if mark.offset is not None and mark != self._committed.get(partition) and partition in self._owned
        }
        if not changed:
            return
        offsets = [
            TopicPartition(*partition, mark.offset, metadata=places_text(mark))
            for partition, mark in changed.items()
            if mark.offset is not None
        ]
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # What was not committed is handled again by whoever comes next.
            _log.warning("commit_failed", consumer=self._group, error=str(error))
            return
        self._committed |= changed

    def _measure_lag(self) -> None:
        self._meters.waiting(len(self._moved.waiting))
        lag = 0
        for partition in self._owned:
            # What the last fetch said; asks nobody.
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
            mark = self._committed.get(partition)
            if high > 0:
                lag += high - (mark.offset if mark is not None and mark.offset is not None else 0)
        self._meters.lag(lag)

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """Runs it on the event loop and waits for the answer."""
        return asyncio.run_coroutine_threadsafe(question, self._loop).result()

    def _client_error(self, error: KafkaError) -> None:
        if error.code() in _UNSUPPORTED:
            self._failure = ProtocolUnsupported(str(error))
        elif error.fatal():
            self._failure = KafkaException(error)
        elif error.code() not in _PASSING:
            _log.warning("kafka_client_error", consumer=self._group, error=str(error))


def places_text(mark: Mark) -> str:
    """The positions of a mark as a commit's metadata: about 60 bytes per journal, and Kafka takes 4,096."""
    return json.dumps({str(journal): place for journal, place in mark.places.items()}, separators=(",", ":"))


def read_places(text: str | None) -> Mapping[UUID, tuple[int, int]]:
    """Empty if the offset was committed by somebody else, such as a tool that resets it: then everything is new."""
    if not text:
        return {}
    try:
        return {UUID(journal): (int(number), int(place)) for journal, (number, place) in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        _log.warning("commit_metadata_unreadable", metadata=text[:100])
        return {}


def _record(message: Message) -> Record | None:
    error = message.error()
    if error is not None:
        if error.code() in _UNSUPPORTED:
            raise ProtocolUnsupported(str(error))
        if error.retriable() or error.code() in (*_PASSING, KafkaError.UNKNOWN_TOPIC_OR_PART):
            return None
        raise KafkaException(error)
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    topic = sys.intern(topic)  # the client makes a string for each message
    assert partition is not None
    assert offset is not None
    key, value, headers = message.key(), message.value(), message.headers()
    try:
        return new_tuple(LoggedEvent, (read_event(topic, key, value, headers, offset), partition, offset))
    except UnreadableRecord as reason:
        named = headers.items() if isinstance(headers, dict) else headers or ()
        return Unreadable(topic, partition, offset, key, value, tuple(named), str(reason))


def _settings(bootstrap: str, group: str, protocol: str, error_cb: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        **client_properties(bootstrap),
        "group.id": group,
        "group.protocol": protocol,
        # Marks are committed by hand: only what is done, with positions beside it.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # Not latest: what is in a partition before anybody hears of it must not be passed over.
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": round(MAX_POLL_INTERVAL_S * 1000),
        "fetch.wait.max.ms": 100,
        # The default lets a full local queue hold up a partition for a second.
        "fetch.queue.backoff.ms": 10,
        # Of each partition. A backlog fills all of this, and the client needs about 700 bytes for each message.
        "queued.min.messages": 1_000,
        "queued.max.messages.kbytes": 8_192,
        # The client asks for so much of each partition at once, compressed, however little is wanted.
        "fetch.message.max.bytes": 131_072,
        "reconnect.backoff.max.ms": 1_000,
        # New partitions are heard of this soon under the classic protocol; the other is told by the broker.
        "topic.metadata.refresh.interval.ms": 30_000,
        "error_cb": error_cb,
        "log_level": CLIENT_LOG_LEVEL,
    }
    if protocol == "classic":
        # Cooperative: partitions that stay are not interrupted when others move.
        settings["partition.assignment.strategy"] = "cooperative-sticky"
        settings["session.timeout.ms"] = round(SESSION_TIMEOUT_S * 1000)
        settings["heartbeat.interval.ms"] = round(SESSION_TIMEOUT_S * 1000 / 3)
    return settings


def _shown(partitions: Any) -> list[str]:
    return sorted(f"{partition.topic}/{partition.number}" for partition in partitions)
