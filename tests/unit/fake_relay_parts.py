"""An outbox and an event log in memory, with the faults that the real ones have, for tests of the relay's own logic."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from journal.events import encode_order_events
from journal.protocol import OutboxRow
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.model import Line, NewOrder
from sluice.seams.event_log import Event, Position
from sluice.slot_map import SlotMap

JOURNAL_ID = UUID("6b1f5a4e-6f0a-4a53-9d53-0d8f6a0a0c11")
TIME = datetime(2026, 11, 20, tzinfo=UTC)

Fault = Callable[[str], bool]
"""Whether the named step fails this time."""


def no_fault(_: str) -> bool:
    return False


class FakeOutbox:
    """The outbox of a journal and its lease. A step may fail before it takes effect, or after."""

    journal_id = JOURNAL_ID

    def __init__(self, fault: Fault = no_fault) -> None:
        self.fault = fault
        self.unnumbered: list[tuple[bytes, int]] = []
        self.rows: dict[int, OutboxRow] = {}
        self.last_number = 0
        self.on_delete: Callable[[int], None] = lambda _: None
        self.held = False

    def commit(self, skus: Sequence[str]) -> list[str]:
        """One batch of one-line orders, one for each SKU; their event ids."""
        orders = [NewOrder(str(uuid4()), "anna", (Line(sku, 1),)) for sku in skus]
        self.unnumbered.append(encode_order_events(orders, TIME))
        return [f"{o.order_id}/1{end}" for o, sku in zip(orders, skus, strict=True) for end in ("", f"/{sku}")]

    @asynccontextmanager
    async def lease_outbox(self) -> AsyncIterator["FakeOutbox | None"]:
        await self._step("lease")
        if self.held:
            yield None
            return
        self.held = True
        try:
            yield self
        finally:
            self.held = False

    async def number_new(self) -> int:
        self._before("number")
        numbered, self.unnumbered = self.unnumbered, []
        for events, count in numbered:
            self.last_number += 1
            self.rows[self.last_number] = OutboxRow(self.last_number, TIME, events, count)
        await self._after("number")
        return len(numbered)

    async def map_version(self) -> int:
        await self._step("map version")
        return 0

    async def slot_maps(self) -> Mapping[str, SlotMap]:
        await self._step("slot maps")
        return {}

    async def read(self, after: int, limit: int) -> Sequence[OutboxRow]:
        await self._step("read")
        return [self.rows[number] for number in sorted(self.rows) if number > after][:limit]

    async def delete(self, numbers: Sequence[int]) -> None:
        self._before("delete")
        for number in numbers:
            self.on_delete(number)
            del self.rows[number]
        await self._after("delete")

    async def _step(self, name: str) -> None:
        self._before(name)
        await self._after(name)

    def _before(self, name: str) -> None:
        if self.fault(f"{name}, not done"):
            raise JournalUnreachable(name)

    async def _after(self, name: str) -> None:
        await asyncio.sleep(0)
        if self.fault(f"{name}, done"):
            raise JournalUnreachable(name, outcome_unknown=True)


class Logged(NamedTuple):
    event_id: str
    key: str
    position: Position
    value: bytes


class FakeLog:
    """Keeps what Kafka's idempotent producer keeps: per partition a prefix of what was enqueued, in order."""

    def __init__(self, partitions: int = 3, fault: Fault = no_fault) -> None:
        self.fault = fault
        self.partitions: list[list[Logged]] = [[] for _ in range(partitions)]
        self.acknowledged: set[Position] = set()
        self.publishers: list[FakePublisher] = []

    async def open(self) -> "FakePublisher":
        if self.fault("open"):
            raise LogUnreachable("open")
        self.publishers.append(FakePublisher(self))
        return self.publishers[-1]


class FakePublisher:
    def __init__(self, log: FakeLog) -> None:
        self.log = log
        self.queues: list[list[Event]] = [[] for _ in log.partitions]
        self.failed = False
        self.written: set[Position] = set()
        self.maps: Sequence[SlotMap] = []

    async def place_by(self, maps: Sequence[SlotMap], _: UUID) -> None:
        if self.failed:
            raise LogUnreachable("failed before")
        self.maps = maps

    async def publish(self, events: Sequence[Event]) -> None:
        if self.failed:
            raise LogUnreachable("failed before")
        for event in events:
            self.queues[hash(event.key) % len(self.queues)].append(event)
        while not all(event.position in self.written for event in events):
            await asyncio.sleep(0)
            # A client library goes on in threads of its own until it is closed, whoever still waits for it.
            for publisher in self.log.publishers:
                publisher.send_queued()
            if self.failed:
                raise LogUnreachable("publish", outcome_unknown=True)
        self.log.acknowledged.update(event.position for event in events)

    def send_queued(self) -> None:
        for queue, partition in zip(self.queues, self.log.partitions, strict=True):
            while queue and not self.failed and not self.log.fault("slow"):
                event = queue.pop(0)
                partition.append(Logged(event.event_id, event.key, event.position, event.value))
                self.written.add(event.position)
                self.failed = self.log.fault("publish")

    async def close(self) -> None:
        self.failed = True
