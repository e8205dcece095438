"""Records that could not be handled, and the keys that are parked behind them.

A key with an open dead letter is parked: its later records follow into the dead-letter log, in order, because handling
them without their predecessor would be handling them out of order. Everything known of parked keys is in that log, as
letters and as notes on them, so it survives any crash, and whoever owns a key next learns of it.
"""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol
from uuid import UUID

from consumers.runtime.records import Partition, Place, Record
from sluice.seams.event_log import LoggedEvent

MAX_ERROR_CHARS = 1_000
"""Of an error's text that is kept: enough to recognise it."""


class Letter(NamedTuple):
    """A record, and why it is here. `error_type` is FOLLOWED for what only came behind another one."""

    record: Record
    key: str
    error_type: str
    error_message: str
    attempts: int
    time_ms: int


FOLLOWED = "parked"


class NoteKind(Enum):
    REPLAY = "replay"
    """Asked for by a person: handle the key's letters now."""
    REPLAY_FAILED = "replay-failed"
    """The letters stay; `reason` says what failed."""
    SETTLED = "settled"
    """The key's letters up to `through` were handled."""
    DISCARDED = "discarded"
    """A person has decided that the key's letters up to `through` are not to be handled."""


class Note(NamedTuple):
    """About the letters of a key. `through` is the place of a letter in the log, or the note's own wish is for all."""

    kind: NoteKind
    key: str
    through: int
    reason: str
    time_ms: int


Entry = Letter | Note


class DeadLetterLog(Protocol):
    """The dead letters of one consumer, one log per topic. Raises LogUnreachable."""

    async def append(self, topic: str, entries: Sequence[Entry]) -> Sequence[int]:
        """Returns the place of each when all are durable."""
        ...

    async def read(self, topic: str, after: int) -> Sequence[tuple[int, Entry]]:
        """The next entries above the place `after` (-1: from the start), by place; none at the end."""
        ...

    async def close(self) -> None: ...


class ParkedKey:
    """What is open of one key."""

    __slots__ = ("error", "first", "last", "letters", "partition", "places", "replay_wanted")

    def __init__(self) -> None:
        self.letters: list[int] = []
        self.places: dict[UUID, Place] = {}
        self.partition = 0
        self.replay_wanted = False
        self.error = ""

    def add(self, place: int, letter: Letter) -> None:
        insort(self.letters, place)
        if letter.error_type != FOLLOWED:
            self.error = f"{letter.error_type}: {letter.error_message}"
        if isinstance(letter.record, LoggedEvent):
            journal, number, position_place = letter.record.event.position
            self.places[journal] = (number, position_place)
            self.partition = letter.record.partition
        else:
            self.partition = letter.record.partition

    def has(self, record: Record) -> bool:
        """Whether a letter of this record is open: it came again after a crash."""
        if not isinstance(record, LoggedEvent):
            return False
        journal, number, place = record.event.position
        return (number, place) <= self.places.get(journal, (0, -1))


class OpenLetters:
    """What the entries of one topic's log say, taken together."""

    def __init__(self) -> None:
        self.keys: dict[str, ParkedKey] = {}
        self.read_to = -1
        self._own: set[int] = set()

    def appended(self, place: int, entry: Entry) -> None:
        """What this process has just appended: it counts at once, and not again when it is read."""
        self._own.add(place)
        self._take(entry, place)

    def read(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """The next entries of the log."""
        for place, entry in entries:
            if place in self._own:
                self._own.discard(place)
            else:
                self._take(entry, place)
        self.read_to = entries[-1][0]

    def _take(self, entry: Entry, place: int) -> None:
        if isinstance(entry, Letter):
            self.keys.setdefault(entry.key, ParkedKey()).add(place, entry)
            return
        parked = self.keys.get(entry.key)
        if parked is None:
            return
        if entry.kind is NoteKind.REPLAY:
            parked.replay_wanted = True
        elif entry.kind is NoteKind.REPLAY_FAILED:
            parked.replay_wanted = False
            parked.error = entry.reason
        else:
            parked.letters = [letter for letter in parked.letters if letter > entry.through]
            if not parked.letters:
                del self.keys[entry.key]


class Parking:
    """The parked keys of the topics of one consumer."""

    def __init__(self, log: DeadLetterLog, topics: Sequence[str]) -> None:
        self._log = log
        self._open = {topic: OpenLetters() for topic in topics}

    @property
    def parked(self) -> int:
        return sum(len(letters.keys) for letters in self._open.values())

    def is_parked(self, topic: str, key: str) -> bool:
        return key in self._open[topic].keys

    async def catch_up(self) -> None:
        """Reads every log to its end. Raises LogUnreachable."""
        for topic, letters in self._open.items():
            while entries := await self._log.read(topic, letters.read_to):
                letters.read(entries)

    async def bury(self, topic: str, letters: Sequence[Letter]) -> None:
        """Appends the letters that are not there already; their keys are parked from now on. Raises LogUnreachable."""
        of_topic = self._open[topic]
        new = [letter for letter in letters if not self._is_there(of_topic, letter)]
        if not new:
            return
        places = await self._log.append(topic, new)
        for place, letter in zip(places, new, strict=True):
            of_topic.appended(place, letter)

    def _is_there(self, of_topic: OpenLetters, letter: Letter) -> bool:
        parked = of_topic.keys.get(letter.key)
        return parked is not None and parked.has(letter.record)

    async def note(self, topic: str, note: Note) -> None:
        """Raises LogUnreachable."""
        (place,) = await self._log.append(topic, [note])
        self._open[topic].appended(place, note)

    def wanted_replays(self) -> Iterator[tuple[Partition, str]]:
        """(the partition whose owner must replay it, key)"""
        for topic, letters in self._open.items():
            for key, parked in letters.keys.items():
                if parked.replay_wanted:
                    yield Partition(topic, parked.partition), key

    async def letters(self, topic: str, key: str) -> list[tuple[int, Letter]]:
        """The open letters of the key, in order. Raises LogUnreachable."""
        parked = self._open[topic].keys.get(key)
        if parked is None:
            return []
        wanted = set(parked.letters)
        last = parked.letters[-1]
        found: list[tuple[int, Letter]] = []
        at = parked.letters[0] - 1
        while at < last and (entries := await self._log.read(topic, at)):
            found += [(place, entry) for place, entry in entries if place in wanted and isinstance(entry, Letter)]
            at = entries[-1][0]
        return found


async def read_open(log: DeadLetterLog, topic: str) -> Mapping[str, ParkedKey]:
    """Every key with open letters on the topic. Raises LogUnreachable."""
    letters = OpenLetters()
    while entries := await log.read(topic, letters.read_to):
        letters.read(entries)
    return letters.keys
