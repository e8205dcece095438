"""A topic of Kafka from its beginning, in the order of the journal's positions.

Keys may have moved from one partition to another while the topic grew. Within a partition positions rise, so partitions
are merged by position: then a key's events come in order whatever partition they are on. One partition is fetched at
a time, when its next event is needed, so memory has a bound.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumers.kafka_slot_maps import KafkaSlotMaps
from sluice.cloud_events import UnreadableRecord, read_event
from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import ANSWER_LIMIT_S, CLIENT_LOG_LEVEL, list_topics
from sluice.seams.event_log import LoggedEvent
from sluice.slot_map import SlotMap

FETCH_EVENTS = 2_000
"""Of one partition: about 2 MB, for each partition at once."""

FETCH_WAIT_S = 0.5
STALL_LIMIT_S = 15.0
"""What is known to be there and does not come for so long says that Kafka is away."""

EVENTS_PER_LIST = 1_000

_kafka_logger = logging.getLogger("sluice.kafka")


class BeginningGone(Exception):
    """Kafka has deleted the oldest records of the topic: what is left does not make the whole."""


class KafkaLogReading:
    """See `consumers.rebuilding.LogReading`. Commits nothing."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._ends: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._slot_maps = KafkaSlotMaps(bootstrap)
        self._maps: list[SlotMap] = []
        self._highest: dict[tuple[int, UUID], tuple[int, int]] = {}
        self._consumer = Consumer(
            {
                **client_properties(bootstrap),
                # Required by the client; nothing is ever committed under this name.
                "group.id": f"sluice-reader-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": CLIENT_LOG_LEVEL,
            },
            logger=_kafka_logger,
        )

    @property
    def total(self) -> int | None:
        return sum(self._ends.values()) or None

    async def to_end(self) -> AsyncIterator[Sequence[LoggedEvent]]:
        """See LogReading. Raises LogUnreachable, BeginningGone, UnreadableRecord."""
        count = (await list_topics(self._bootstrap)).get(self._topic, 0)
        await asyncio.to_thread(self._look_for_ends, count)
        waiting = {partition: await self._fetch(partition) for partition in self._ends}
        heads = [_head(partition, events) for partition, events in waiting.items() if events]
        heapify(heads)
        merged: list[LoggedEvent] = []
        while heads:
            _, partition = heappop(heads)
            events = waiting[partition]
            merged.append(events.popleft())
            if not events:
                events = waiting[partition] = await self._fetch(partition)
            if events:
                heappush(heads, _head(partition, events))
            if len(merged) == EVENTS_PER_LIST:
                yield merged
                merged = []
        if merged:
            yield merged

    async def close(self) -> None:
        await asyncio.to_thread(self._consumer.close)

    def _look_for_ends(self, count: int) -> None:
        for partition in range(count):
            try:
                marks = self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), timeout=ANSWER_LIMIT_S
                )
            except KafkaException as error:
                raise LogUnreachable(str(error)) from error
            if marks is None:
                raise LogUnreachable(f"no answer for the end of {self._topic}/{partition}")
            low, self._ends[partition] = marks
            if low > self._next.setdefault(partition, 0):
                raise BeginningGone(f"the records of {self._topic}/{partition} below {low} are gone")
        # Looked at last: a record above was on the log after the map that places it.
        self._maps += [each.slot_map for each in self._slot_maps.read_on() if each.slot_map.topic == self._topic]
        self._ends = consistent_ends(self._ends, self._maps)

    async def _fetch(self, partition: int) -> deque[LoggedEvent]:
        """The next events; none if all up to the end were fetched."""
        while (begin := self._next.setdefault(partition, 0)) < self._ends[partition]:
            if events := await asyncio.to_thread(self._fetch_from, partition, begin):
                return events
        return deque()

    def _fetch_from(self, partition: int, begin: int) -> deque[LoggedEvent]:
        """Without those that stood there before, which may leave none."""
        consumer = self._consumer
        consumer.assign([TopicPartition(self._topic, partition, begin)])
        give_up_at = time.monotonic() + STALL_LIMIT_S
        events: deque[LoggedEvent] = deque()
        while self._next[partition] == begin:
            if time.monotonic() > give_up_at:
                raise LogUnreachable(f"nothing came from {self._topic}/{partition} for {STALL_LIMIT_S:g} s")
            wanted = min(FETCH_EVENTS, self._ends[partition] - begin)
            for message in consumer.consume(wanted, FETCH_WAIT_S):
                if (error := message.error()) is not None:
                    if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):  # noqa: SLF001
                        continue
                    raise LogUnreachable(str(error))
                offset = message.offset()
                assert offset is not None
                self._next[partition] = offset + 1
                try:
                    event = read_event(self._topic, message.key(), message.value(), message.headers(), offset)
                except UnreadableRecord as error:
                    raise UnreadableRecord(f"{self._topic}/{partition} at {offset}: {error}") from error
                seat, place = (partition, event.position.journal), (event.position.number, event.position.place)
                if place > self._highest.get(seat, (0, -1)):
                    self._highest[seat] = place
                    events.append(LoggedEvent(event, partition, offset))
        return events


def consistent_ends(ends: Mapping[int, int], maps: Iterable[SlotMap]) -> dict[int, int]:
    """Ends that were noted one after the other, made to hold an event's predecessors wherever they hold the event.

    A slot that moved meanwhile may be in them with what is new in its place, and without the last of what is in its old
    one. So old places are taken as far as they went.
    """
    consistent = dict(ends)
    for slot_map in maps:
        for partition, end in slot_map.left_at.items():
            consistent[partition] = max(end, consistent.get(partition, 0))
    return consistent


def _head(partition: int, events: deque[LoggedEvent]) -> tuple[tuple[int, int], int]:
    position = events[0].event.position
    return (position.number, position.place), partition
