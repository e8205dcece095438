"""A journal in memory that obeys `journal.protocol` and breaks off where it is told to."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from uuid import UUID

from journal.limits import orders_beyond
from journal.protocol import (
    Batch,
    CommitResult,
    Committed,
    IncarnationRow,
    IncarnationsFenced,
    LimitsReached,
    OrdersExist,
    ReservationKey,
    ReservationsClosed,
)
from sluice.errors import JournalUnreachable
from sluice.model import NewOrder, Order, OrderState

TIME = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Fault(Enum):
    """What becomes of one call."""

    NONE = "answered"
    AWAY = "not started, and known not to be"
    LOST = "not done, and nobody says so"
    UNHEARD = "done, and the answer is lost"


class FakeJournal:
    """`faults` are those of the next calls, in order; then all are answered. While `away`, nothing is done."""

    def __init__(self) -> None:
        self.shard = 0
        self.orders: dict[str, Order] = {}
        self.spends: dict[ReservationKey, dict[str, int]] = {}
        self.limits: dict[str, int] = {}  # units of a SKU that a customer may have
        self.registered: dict[UUID, bool] = {}  # fenced?
        self.faults: deque[Fault] = deque()
        self.away = False
        self.answering = asyncio.Event()
        self.answering.set()
        self.commits: list[Batch] = []
        self.committed: list[str] = []  # ids of orders, each time one is written
        self.lookups = 0

    @property
    def shards(self) -> "Sequence[FakeJournal]":
        return (self,)

    @property
    def journal_id(self) -> UUID:
        return UUID(int=7)

    def sold_by_sku(self, incarnation: UUID | None = None) -> dict[str, int]:
        sold: dict[str, int] = {}
        for (by, _), units in self.spends.items():
            if incarnation in (None, by):
                for sku, count in units.items():
                    sold[sku] = sold.get(sku, 0) + count
        return sold

    async def commit(self, batch: Batch) -> CommitResult:
        fault = await self._next_fault()
        self.commits.append(batch)
        if fault is Fault.LOST:
            raise JournalUnreachable("no answer", outcome_unknown=True)
        result = self._commit(batch)
        if fault is Fault.UNHEARD:
            raise JournalUnreachable("no answer", outcome_unknown=True)
        return result

    def _commit(self, batch: Batch) -> CommitResult:
        keys = [(spend.incarnation, spend.seq) for spend in batch.spends]
        assert len(set(keys)) == len(keys), "a batch names a reservation twice"
        ids = [order.order_id for order in batch.orders]
        assert len(set(ids)) == len(ids), "a batch names an order twice"
        fenced = frozenset(by for by, _ in keys if self.registered.get(by, True))
        if fenced:
            return IncarnationsFenced(fenced)
        existing = {each: self.orders[each] for each in ids if each in self.orders}
        if existing:
            return OrdersExist(existing)
        closed = {key: dict(self.spends[key]) for key in keys if key in self.spends}
        if closed:
            return ReservationsClosed(closed)
        if beyond := orders_beyond(self.limits, self._counted(), batch.orders):
            return LimitsReached(beyond)
        for order in batch.orders:
            self.orders[order.order_id] = standing(order, batch.create_time)
            self.committed.append(order.order_id)
        for spend in batch.spends:
            self.spends[spend.incarnation, spend.seq] = dict(spend.units)
        return Committed()

    def _counted(self) -> dict[tuple[str, str], int]:
        counted: dict[tuple[str, str], int] = {}
        for order in self.orders.values() if self.limits else ():
            for sku, quantity in order.lines:
                counted[order.customer_id, sku] = counted.get((order.customer_id, sku), 0) + quantity
        return counted

    async def close_reservations(
        self, incarnation: UUID, seqs: Sequence[int], now: datetime
    ) -> Mapping[int, Mapping[str, int]]:
        del now
        fault = await self._next_fault()
        if fault is Fault.LOST:
            raise JournalUnreachable("no answer", outcome_unknown=True)
        rows = {seq: dict(self.spends.setdefault((incarnation, seq), {})) for seq in seqs}
        if fault is Fault.UNHEARD:
            raise JournalUnreachable("no answer", outcome_unknown=True)
        return rows

    async def incarnations(self) -> Sequence[IncarnationRow]:
        await self._next_fault()
        return [IncarnationRow("stockd", each, TIME, fenced) for each, fenced in self.registered.items()]

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        await self._next_fault()
        self.lookups += 1
        return {each: self.orders[each] for each in order_ids if each in self.orders}

    async def spent(self, incarnation: UUID) -> Mapping[str, int]:
        await self._next_fault()
        return self.sold_by_sku(incarnation)

    async def ping(self) -> None:
        await self._next_fault()

    async def _next_fault(self) -> Fault:
        await asyncio.sleep(0)
        await self.answering.wait()
        if self.away:
            raise JournalUnreachable("away")
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault is Fault.AWAY:
            raise JournalUnreachable("away for a moment")
        return fault


def standing(order: NewOrder, time: datetime = TIME) -> Order:
    made = Order(order.order_id, order.customer_id, order.lines, OrderState.CREATED, time, time, 1)
    return made._replace(priority=order.priority)
