"""Records on their way through a consumer, and how far each partition is done."""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from sluice.cloud_events import HeaderValue
from sluice.seams.event_log import LoggedEvent

Place = tuple[int, int]
"""(number, place) of an event's position within its journal."""


_NOWHERE: Place = (0, -1)
"""Below every place: rows are numbered from 1."""


class Partition(NamedTuple):
    topic: str
    number: int


class Unreadable(NamedTuple):
    """A record that no relay has written, as it came."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, HeaderValue], ...]
    reason: str


Record = LoggedEvent | Unreadable


class Mark(NamedTuple):
    """Every record below `offset` is done (None: nothing is known, start at the oldest). `places`: the highest position
    per journal among them. Kept together, so that what is below neither is handled again.
    """

    offset: int | None
    places: Mapping[UUID, Place]


START = Mark(None, {})


class Work:
    """One record between its arrival and its end."""

    __slots__ = ("finished", "key", "progress", "record")

    def __init__(self, record: Record, key: str, progress: "Progress") -> None:
        self.record = record
        self.key = key
        self.progress = progress
        self.finished = False


class Progress:
    """How far one partition is done. Its mark never passes a record that is not finished."""

    def __init__(self, partition: Partition, start: Mark) -> None:
        self.partition = partition
        self.given_up = False
        """Nothing of it may be started any more: the partition is somebody else's, or about to be."""
        self._received = dict(start.places)
        self._done = dict(start.places)
        self._next = start.offset
        self._waiting: deque[Work] = deque()
        # Of the record that came last. Looking places up costs more than all else here: a UUID is hashed in Python.
        self._last_journal: UUID | None = None
        self._last_place: Place = _NOWHERE

    @property
    def mark(self) -> Mark:
        return Mark(self._next, dict(self._done))

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def admit(self, record: Record) -> Work | None:
        """The work that the record makes; None if it repeats what came before."""
        if isinstance(record, Unreadable):
            work = Work(record, (record.key or b"").decode(errors="replace"), self)
            self._waiting.append(work)
            return work
        event = record.event
        work = Work(record, event.key, self)
        self._waiting.append(work)
        journal, number, place = event.position
        if journal is not self._last_journal:
            self._note_received()
            self._last_journal, self._last_place = journal, self._received.get(journal, _NOWHERE)
        last_number, last_place = self._last_place
        if number < last_number or (number == last_number and place <= last_place):
            work.finished = True
            self.advance()
            return None
        self._last_place = (number, place)
        return work

    def _note_received(self) -> None:
        if self._last_journal is not None:
            self._received[self._last_journal] = self._last_place

    def advance(self) -> None:
        """Moves the mark up to the first record that is not finished."""
        waiting = self._waiting
        done = self._done
        last_journal: UUID | None = None
        highest = _NOWHERE
        while waiting and waiting[0].finished:
            record = waiting.popleft().record
            self._next = record.offset + 1
            if isinstance(record, LoggedEvent):
                journal, number, place = record.event.position
                if journal is not last_journal:
                    if last_journal is not None:
                        done[last_journal] = highest
                    last_journal, highest = journal, done.get(journal, _NOWHERE)
                highest_number, highest_place = highest
                if number > highest_number or (number == highest_number and place > highest_place):
                    highest = (number, place)
        if last_journal is not None:
            done[last_journal] = highest
