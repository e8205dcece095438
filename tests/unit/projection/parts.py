"""A log in memory, and a store that keeps of two states the one at the higher position, call by call."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random
from uuid import UUID, uuid4

from sluice._gen.events.v1.events_pb2 import StockChanged
from sluice.errors import StoreUnreachable
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, Event, LoggedEvent, Position
from sluice.seams.stock_projection import UNTOUCHED, Control, SkuChanges, SkuState, StockChange

JOURNAL = uuid4()


def logged(offset: int, sku: str, delta: int, number: int, place: int = 0, journal: UUID = JOURNAL) -> LoggedEvent:
    value = StockChanged(sku=sku, delta=delta, order_id=f"order-{number}-{place}", order_version=1).SerializeToString()
    event_id = f"{number}/{place}"
    position = Position(journal, number, place)
    return LoggedEvent(Event(TOPIC_STOCK_CHANGED, sku, value, event_id, "test", number, position), 0, offset)


class Memory:
    """See StockProjection. Each call waits until it is let through; it may fail, and what it wanted may happen all the
    same, in part, or later.
    """

    def __init__(self) -> None:
        self.standing = UNTOUCHED
        self.kept: dict[tuple[UUID, str, UUID], SkuState] = {}
        self.changes: dict[tuple[UUID, str, UUID, int], StockChange] = {}
        self.waiting: list[asyncio.Future[None]] = []
        self.late: list[tuple[UUID, SkuState]] = []
        self.gated = False
        self.random = Random(0)

    async def _turn(self) -> None:
        if self.gated:
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate

    def keep(self, generation: UUID, state: SkuState) -> None:
        there = self.kept.get((generation, state.sku, state.journal))
        if there is None or (state.number, state.place) > (there.number, there.place):
            self.kept[generation, state.sku, state.journal] = state

    async def control(self) -> Control:
        await self._turn()
        return self.standing

    async def replace_control(self, before: Control, after: Control) -> bool:
        await self._turn()
        if self.standing.version != before.version:
            return False
        self.standing = after
        return True

    async def states(self, generation: UUID, skus: Sequence[str]) -> Mapping[tuple[str, UUID], SkuState]:
        await self._turn()
        return {
            (sku, journal): state for (of, sku, journal), state in self.kept.items() if of == generation and sku in skus
        }

    async def write(self, generation: UUID, states: Sequence[SkuState], of_skus: Sequence[SkuChanges]) -> None:
        changes = [change for of_sku in of_skus for change in of_sku.one_by_one()]
        try:
            await self._turn()
        except StoreUnreachable:
            written = self.random.randrange(len(changes) + 2)
            self._keep_changes(generation, changes[:written])
            for state in states if written > len(changes) else ():
                fate = self.random.randrange(3)
                if fate == 1:
                    self.keep(generation, state)
                elif fate == 2:
                    self.late.append((generation, state))
            raise
        self._keep_changes(generation, changes)
        for state in states:
            self.keep(generation, state)

    def _keep_changes(self, generation: UUID, changes: Sequence[StockChange]) -> None:
        for change in changes:
            self.changes[generation, change.sku, change.journal, change.ordinal] = change

    async def recent(self, generation: UUID, sku: str, limit: int) -> Sequence[StockChange]:
        found = [change for (of, each, *_), change in self.changes.items() if of == generation and each == sku]
        return sorted(found, key=lambda change: -change.ordinal)[:limit]

    async def scan(self, generation: UUID) -> AsyncIterator[Sequence[SkuState]]:
        await self._turn()
        yield [state for (of, *_), state in self.kept.items() if of == generation]

    async def drop(self, generation: UUID) -> None:
        self.kept = {key: state for key, state in self.kept.items() if key[0] != generation}

    async def generations(self) -> frozenset[UUID]:
        return frozenset(of for of, *_ in self.kept)

    async def close(self) -> None: ...
