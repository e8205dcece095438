"""Orders that move, between stock servers and a journal in memory, in virtual time."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from journal.protocol import (
    Committed,
    IncarnationsFenced,
    OrdersMoved,
    ReservationsClosed,
    TransitionBatch,
    TransitionResult,
)
from sluice.errors import JournalUnreachable, KeeperUnreachable
from sluice.model import Line, Order, OrderState
from sluice.seams.stock_keeper import Settlement
from tests.unit.fake_journal import Fault

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def now() -> datetime:
    return NOW


def standing(number: int, lines: Mapping[str, int], state: OrderState = OrderState.HELD) -> Order:
    columns = tuple(Line(sku, lines[sku]) for sku in sorted(lines))
    return Order(str(UUID(int=number)), "anna", columns, state, NOW, NOW, 1, NOW + timedelta(hours=1))


class FakeOwner:
    """A stock server to which units go back. While `broken` it does not answer."""

    def __init__(self, number: int) -> None:
        self.incarnation = UUID(int=number)
        self.seq = 0
        self.away = False
        self.broken = False
        self.asked: list[dict[str, int]] = []
        self.told: dict[int, dict[str, int]] = {}

    async def reserve_return(self, units: Mapping[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        if self.broken:
            self.away = True
            raise KeeperUnreachable("away")
        self.asked.append(dict(units))
        self.seq += 1
        return self.incarnation, self.seq

    def settle(self, settlement: Settlement) -> None:
        assert settlement.seq not in self.told
        self.told[settlement.seq] = dict(settlement.sold)

    def mark_away(self, reason: str) -> None:
        self.away = True


class FakeOwners:
    """SKU `a...` belongs to the first, `b...` to the second, and to the next one that answers."""

    def __init__(self) -> None:
        self.all = [FakeOwner(1), FakeOwner(2), FakeOwner(3)]

    def owner_of(self, sku: str) -> FakeOwner:
        first = ord(sku[0]) - ord("a")
        turned = self.all[first:] + self.all[:first]
        return next((owner for owner in turned if not owner.away), turned[0])


class FakeJournal:
    shard = 0

    def __init__(self, *orders: Order) -> None:
        self.orders = {order.order_id: order for order in orders}
        self.spends: dict[tuple[UUID, int], dict[str, int]] = {}
        self.fenced: set[UUID] = set()
        self.faults: deque[Fault] = deque()
        self.batches: list[TransitionBatch] = []
        self.leases = 1
        self.looks = 0

    async def transition(self, batch: TransitionBatch) -> TransitionResult:
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault is Fault.AWAY:
            raise JournalUnreachable("away")
        if fault is Fault.LOST:
            raise JournalUnreachable("no answer", outcome_unknown=True)
        self.batches.append(batch)
        result = self._transition(batch)
        if fault is Fault.UNHEARD:
            raise JournalUnreachable("no answer", outcome_unknown=True)
        return result

    def _transition(self, batch: TransitionBatch) -> TransitionResult:
        keys = [(spend.incarnation, spend.seq) for spend in batch.spends]
        if fenced := frozenset(by for by, _ in keys if by in self.fenced):
            return IncarnationsFenced(fenced)
        moved = {
            order.order_id: self.orders.get(order.order_id)
            for order, *_ in batch.transitions
            if order.order_id not in self.orders or self.orders[order.order_id].version != order.version
        }
        if moved:
            return OrdersMoved(moved)
        if closed := {key: self.spends[key] for key in keys if key in self.spends}:
            return ReservationsClosed(closed)
        for step in batch.transitions:
            self.orders[step.order.order_id] = step.after(batch.update_time)
        for spend in batch.spends:
            self.spends[spend.incarnation, spend.seq] = dict(spend.units)
        return Committed()

    @asynccontextmanager
    async def lease_holds(self) -> AsyncIterator["FakeJournal | None"]:
        if not self.leases:
            yield None
            return
        self.leases -= 1
        try:
            yield self
        finally:
            self.leases += 1

    async def due_holds(self, limit: int) -> Sequence[Order]:
        self.looks += 1
        if self.faults and self.faults[0] is Fault.AWAY:
            self.faults.popleft()
            raise JournalUnreachable("the session is lost")
        return [order for order in self.orders.values() if order.state is OrderState.HELD][:limit]

    def returned(self) -> dict[str, int]:
        units: dict[str, int] = {}
        for row in self.spends.values():
            for sku, count in row.items():
                units[sku] = units.get(sku, 0) - count
        return units
