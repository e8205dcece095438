"""A log in memory with consumers on it, for tests of the lanes: no Kafka, and time is virtual."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from prometheus_client import CollectorRegistry

from consumers.runtime.dead_letters import Entry, Parking
from consumers.runtime.handling import Handler
from consumers.runtime.lanes import Lanes
from consumers.runtime.meters import Meters
from consumers.runtime.records import START, Mark, Partition, Record, Unreadable
from sluice.errors import LogUnreachable
from sluice.seams.event_log import Event, LoggedEvent, Position

TOPIC = "order-created"
JOURNAL = UUID(int=1)


def event(key: str, number: int, place: int = 0, topic: str = TOPIC) -> Event:
    return Event(
        topic, key, f"{key} {number}/{place}".encode(), f"{key}/{number}", "test", 0, Position(JOURNAL, number, place)
    )


class MemoryLog:
    """Partitions as lists; a record's offset is its place in the list."""

    def __init__(self, partitions: int) -> None:
        self.partitions: dict[Partition, list[Record]] = {Partition(TOPIC, n): [] for n in range(partitions)}

    def append(self, partition: int, event: Event) -> None:
        log = self.partitions[Partition(TOPIC, partition)]
        log.append(LoggedEvent(event, partition, len(log)))

    def append_unreadable(self, partition: int, key: bytes | None = None) -> None:
        log = self.partitions[Partition(TOPIC, partition)]
        log.append(Unreadable(TOPIC, partition, len(log), key, b"?", (), "no header"))


class MemoryDeadLetters:
    """See `DeadLetterLog`. While `away` it does not answer."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.away = False

    async def append(self, topic: str, entries: Sequence[Entry]) -> Sequence[int]:
        await asyncio.sleep(0.001)
        self._check()
        first = len(self.entries)
        self.entries += entries
        return range(first, len(self.entries))

    async def read(self, topic: str, after: int) -> Sequence[tuple[int, Entry]]:
        await asyncio.sleep(0.001)
        self._check()
        return list(enumerate(self.entries))[after + 1 : after + 4]

    def _check(self) -> None:
        if self.away:
            raise LogUnreachable("told to be away")

    async def close(self) -> None: ...


class Member:
    """One process of the consumer group: feeds its lanes from where it stands in each of its partitions."""

    def __init__(
        self, log: MemoryLog, handle: Handler, letters: MemoryDeadLetters, *, lanes: int = 4, per_call: int = 1_000
    ) -> None:
        self._log = log
        self.parking = Parking(letters, [TOPIC])
        self.registry = CollectorRegistry()
        self.lanes = Lanes(
            "test",
            handle,
            self.parking,
            Meters(self.registry).of("test"),
            lanes=lanes,
            now_ms=lambda: 0,
            events_per_call=per_call,
        )
        self.next: dict[Partition, int] = {}

    async def start(self) -> None:
        await self.lanes.__aenter__()

    async def assign(self, marks: Mapping[Partition, Mark]) -> None:
        await self.lanes.assign(marks)
        self.next |= {partition: mark.offset or 0 for partition, mark in marks.items()}

    async def assign_all(self) -> None:
        await self.assign(dict.fromkeys(self._log.partitions, START))

    def feed(self, most: int = 1_000) -> None:
        for partition, offset in self.next.items():
            records = self._log.partitions[partition][offset : offset + most]
            self.next[partition] += len(records)
            self.lanes.feed(records)

    async def revoke(self, partitions: Sequence[Partition], limit_s: float = 5.0) -> Mapping[Partition, Mark]:
        for partition in partitions:
            self.next.pop(partition, None)
        return await self.lanes.revoke(partitions, limit_s)

    async def crash(self) -> None:
        """Everything it was doing ends where it is."""
        self.next.clear()
        self.lanes.lose(list(self.lanes.marks()))
        await self.lanes.__aexit__()

    def value(self, metric: str) -> float:
        found = self.registry.get_sample_value(f"sluice_consumer_{metric}", {"consumer": "test"})
        assert found is not None
        return found


async def until(condition: Callable[[], bool], limit_s: float = 600.0) -> None:
    """In virtual time: waits as long as it takes, and fails if it never comes."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)


def handler_of(do: Callable[[LoggedEvent], Awaitable[None]]) -> Handler:
    """One event after the other; the first that fails fails the call."""

    async def handle(events: Sequence[LoggedEvent]) -> None:
        for each in events:
            await do(each)

    return handle
