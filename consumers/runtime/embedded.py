"""Consumers of a process that runs everything: the outbox is the log, and the journal keeps how far they are.

The same lanes, with one partition per topic. What Kafka's offset is here is made of the position, so that it rises.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

import structlog

from consumers.runtime.dead_letters import Entry, Letter, Note, NoteKind, Parking
from consumers.runtime.handling import Consumer, now_ms
from consumers.runtime.lanes import Lanes
from consumers.runtime.meters import Meters
from consumers.runtime.records import START, Mark, Partition, Unreadable
from journal.embedded_log import ONLY_PARTITION
from journal.events import decode_events
from journal.protocol import OutboxRow
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.seams.event_log import Event, LoggedEvent, Position
from sluice.trace_context import TraceContext

LANES = 4
"""There is one writer behind all of them."""

READ_ROWS = 20
"""A row holds up to about 1 MB."""

IDLE_POLL_S = 0.1
"""Between looks at a log that had nothing new."""

SHARE = 0.2
"""Of the time, at most, that goes into reading and decoding while there is more to read: the process places orders
besides, and consumers may lag behind a sale."""

MAX_IN_FLIGHT = 10_000
"""Received and not finished; then nothing is read."""

NOTE_PLACES_S = 1.0
"""Between notes of how far a consumer is: a crash repeats about this much. Dead letters are looked at as often."""


PLACES_PER_ROW = 1 << 22
"""More than the events of one row: 5,000 orders of 64 lines."""

READ_LETTERS = 200

_log = structlog.get_logger(__name__)


class Outbox(Protocol):
    """What the SQLite journal offers to readers."""

    @property
    def journal_id(self) -> UUID: ...

    async def read_outbox(self, after: int, limit: int) -> Sequence[OutboxRow]: ...

    def scan_outbox(self) -> AsyncIterator[Sequence[OutboxRow]]: ...


class Notes(Protocol):
    """See `journal.sqlite_consumers`."""

    async def places(self, consumer: str) -> Mapping[str, tuple[int, int]]: ...
    async def note_places(self, consumer: str, places: Mapping[str, tuple[int, int]]) -> None: ...
    async def append_letters(self, consumer: str, topic: str, entries: Sequence[str]) -> Sequence[int]: ...
    async def read_letters(self, consumer: str, topic: str, after: int, limit: int) -> Sequence[tuple[int, str]]: ...


async def consume_embedded(
    consumer: Consumer, outbox: Outbox, notes: Notes, meters: Meters, *, drain_limit_s: float
) -> None:
    """Until it is cancelled: then what is being handled is finished, for `drain_limit_s` at most, and noted."""
    parking = Parking(JournalDeadLetters(notes, consumer.name), consumer.topics)
    partitions = {topic: Partition(topic, ONLY_PARTITION) for topic in consumer.topics}
    own = meters.of(consumer.name)
    async with Lanes(
        consumer.name,
        consumer.handle,
        parking,
        own,
        lanes=LANES,
        now_ms=now_ms,
        events_per_call=consumer.events_per_call,
    ) as lanes:
        places = await notes.places(consumer.name)
        starts = {topic: _mark(outbox.journal_id, places.get(topic)) for topic in consumer.topics}
        await lanes.assign({partitions[topic]: mark for topic, mark in starts.items()})
        # A row that is half done is read again; what is done of it counts as a repeat.
        first = min((places.get(topic, (1, 0))[0] for topic in consumer.topics), default=1) - 1
        reading = _Reading(outbox, lanes, frozenset(consumer.topics), first)
        noting = asyncio.create_task(_keep_noting(consumer.name, lanes, notes, outbox.journal_id))
        feeding = asyncio.create_task(reading.run())
        try:
            done, _ = await asyncio.wait([feeding, noting, *lanes.tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            feeding.cancel()
            noting.cancel()
            await asyncio.gather(feeding, noting, return_exceptions=True)
            marks = await lanes.revoke(partitions.values(), drain_limit_s)
            try:
                await _note(consumer.name, marks, notes, outbox.journal_id)
            except JournalUnreachable as error:
                _log.warning("places_not_noted", consumer=consumer.name, error=str(error))


class _Reading:
    def __init__(self, outbox: Outbox, lanes: Lanes, topics: frozenset[str], after: int) -> None:
        self._outbox = outbox
        self._lanes = lanes
        self._topics = topics
        self._after = after
        self._room = asyncio.Event()
        lanes.on_room = self._room.set

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            if self._lanes.in_flight >= MAX_IN_FLIGHT:
                self._room.clear()
                await self._room.wait()
                continue
            begin = loop.time()
            more = await self._read()
            took = loop.time() - begin
            await asyncio.sleep(took * (1 / SHARE - 1) if more else IDLE_POLL_S)

    async def _read(self) -> bool:
        """Whether there may be more."""
        try:
            rows = await self._outbox.read_outbox(self._after, READ_ROWS)
        except JournalUnreachable as error:
            _log.warning("log_unreachable", error=str(error))
            return False
        for row in rows:
            events = decode_events(row, self._outbox.journal_id)
            self._lanes.feed(
                [LoggedEvent(event, ONLY_PARTITION, _offset(event)) for event in events if event.topic in self._topics]
            )
            self._after = row.number
        return len(rows) == READ_ROWS


async def _keep_noting(consumer: str, lanes: Lanes, notes: Notes, journal: UUID) -> None:
    noted: Mapping[Partition, Mark] = {}
    while True:
        await asyncio.sleep(NOTE_PLACES_S)
        marks = lanes.marks()
        try:
            changed = {partition: mark for partition, mark in marks.items() if noted.get(partition) != mark}
            await _note(consumer, changed, notes, journal)
            noted = marks
            await lanes.look_at_dead_letters()
        except (JournalUnreachable, LogUnreachable) as error:
            _log.warning("places_not_noted", consumer=consumer, error=str(error))


async def _note(consumer: str, marks: Mapping[Partition, Mark], notes: Notes, journal: UUID) -> None:
    places = {partition.topic: mark.places[journal] for partition, mark in marks.items() if journal in mark.places}
    if places:
        await notes.note_places(consumer, places)


def _mark(journal: UUID, place: tuple[int, int] | None) -> Mark:
    return START if place is None else Mark(place[0] * PLACES_PER_ROW + place[1] + 1, {journal: place})


def _offset(event: Event) -> int:
    return event.position.number * PLACES_PER_ROW + event.position.place


class JournalDeadLetters:
    """Dead letters in the journal; see `consumers.runtime.dead_letters.DeadLetterLog`."""

    def __init__(self, notes: Notes, consumer: str) -> None:
        self._notes = notes
        self._consumer = consumer

    async def append(self, topic: str, entries: Sequence[Entry]) -> Sequence[int]:
        try:
            return await self._notes.append_letters(self._consumer, topic, [_as_text(entry) for entry in entries])
        except JournalUnreachable as error:
            raise LogUnreachable(str(error), outcome_unknown=error.outcome_unknown) from error

    async def read(self, topic: str, after: int) -> Sequence[tuple[int, Entry]]:
        try:
            found = await self._notes.read_letters(self._consumer, topic, after, READ_LETTERS)
        except JournalUnreachable as error:
            raise LogUnreachable(str(error)) from error
        return [(place, _as_entry(topic, text)) for place, text in found]

    async def close(self) -> None:
        """The journal belongs to whoever opened it."""


def _as_text(entry: Entry) -> str:
    if isinstance(entry, Note):
        return json.dumps(["note", entry.kind.value, *entry[1:]])
    record = entry.record
    if isinstance(record, Unreadable):
        raise TypeError("the outbox holds events only")
    _, key, value, event_id, event_type, time_ms, position, trace = record.event
    event = [key, value.hex(), event_id, event_type, time_ms, str(position.journal), position.number, position.place]
    if trace is not None:
        event += trace
    return json.dumps(["letter", event, record.offset, *entry[1:]])


def _as_entry(topic: str, text: str) -> Entry:
    kind, first, second, *rest = json.loads(text)
    if kind == "note":
        return Note(NoteKind(first), second, *rest)
    key, value, event_id, event_type, time_ms, journal, number, place, *trace = first
    position = Position(UUID(journal), number, place)
    event = Event(topic, key, bytes.fromhex(value), event_id, event_type, time_ms, position)
    if trace:
        event = event._replace(trace=TraceContext(*trace))
    return Letter(LoggedEvent(event, ONLY_PARTITION, second), *rest)
