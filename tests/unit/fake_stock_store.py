"""A stock store in memory that does to callers what real ones do: late, lost, unknown, away."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from uuid import UUID

from sluice.errors import StoreUnreachable
from sluice.model import StockPolicy
from sluice.seams.stock_store import (
    Cell,
    Consistency,
    Counts,
    Head,
    Ledger,
    NoSuchSku,
    Row,
    SkuPage,
    WriteOutcome,
)
from tests.contract.stock_store.model import Fold, LedgerModel, Restock, Take


class Fate(Enum):
    """What becomes of one conditional write."""

    ANSWERED = "answered"
    APPLIED_UNHEARD = "applied, and the answer is lost"
    LOST_UNHEARD = "lost, and nobody says so"
    LATE_UNHEARD = "on the wire until `land` or `lose`, and nobody says so"
    AWAY = "never sent, and known not to be"


class FakeStockStore:
    """`fates` are those of the next takes and additions to counters, in order; then all are answered. While `away`,
    nothing is sent.
    """

    def __init__(self, skus_at_once: int = 512) -> None:
        self.skus: dict[str, LedgerModel] = {}
        self.policies: dict[str, StockPolicy] = {}
        self.owners: dict[str, int] = {}
        self.fates: deque[Fate] = deque()
        self.away = False
        self.answering = asyncio.Event()  # clear: conditional writes and reads hang before they take effect
        self.answering.set()
        self.latency_s = 0.0  # of every answer
        self.at_once = 0
        self.most_at_once = 0
        self.skus_at_once = skus_at_once
        self.before_read_answers: Callable[[], asyncio.Future[None]] | None = None
        self.late: list[tuple[str, Take]] = []
        self.late_additions: list[tuple[str, Cell, int]] = []
        self.added: dict[str, dict[Cell, int]] = {}
        self.closed: dict[str, dict[Cell, int]] = {}
        self.additions: list[tuple[str, Cell, int]] = []
        self.counts_read = 0
        self.counts_away = False  # additions are answered, and nobody can read them
        self.sent: list[tuple[str, Take]] = []
        self.noted: list[tuple[UUID, str]] = []
        self.in_flight: dict[str, int] = {}
        self.most_in_flight = 0

    def create(self, sku: str, units: int, policy: StockPolicy = StockPolicy.EXACT) -> LedgerModel:
        ledger = self.skus[sku] = LedgerModel()
        self.policies[sku] = policy
        if units:
            ledger.apply(Restock(UUID(int=1), units))
        return ledger

    def add(self, sku: str, units: int) -> None:
        self.skus[sku].apply(Restock(UUID(int=len(self.skus[sku].restocks) + 1), units))

    def available(self, sku: str) -> int:
        return self.skus[sku].available

    def held(self, sku: str, incarnation: UUID) -> int:
        row = self.skus[sku].held.get(incarnation)
        return row.units if row else 0

    def land(self, place: int = 0) -> WriteOutcome:
        sku, take = self.late.pop(place)
        return self.skus[sku].apply(take)

    def lose(self, place: int = 0) -> None:
        del self.late[place]

    def check_conservation(self) -> None:
        for ledger in self.skus.values():
            assert ledger.available >= 0
            held = sum(row.units for row in ledger.held.values())
            assert sum(ledger.restocks.values()) == ledger.available + held

    async def take(self, sku: str, incarnation: UUID, before: Row | None, count: int) -> WriteOutcome:
        self.in_flight[sku] = self.in_flight.get(sku, 0) + 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight[sku])
        try:
            await self._arrive()
            return self._take(sku, Take(incarnation, before, count))
        finally:
            self.in_flight[sku] -= 1

    def _take(self, sku: str, take: Take) -> WriteOutcome:
        if self.away:
            raise StoreUnreachable("away")
        fate = self.fates.popleft() if self.fates else Fate.ANSWERED
        if fate is Fate.AWAY:
            raise StoreUnreachable("away for a moment")
        self.sent.append((sku, take))
        if sku not in self.skus:
            return NoSuchSku()
        if fate is Fate.LATE_UNHEARD:
            self.late.append((sku, take))
        if fate in (Fate.LATE_UNHEARD, Fate.LOST_UNHEARD):
            raise StoreUnreachable("no answer", outcome_unknown=True)
        outcome = self.skus[sku].apply(take)
        if fate is Fate.APPLIED_UNHEARD:
            raise StoreUnreachable("no answer", outcome_unknown=True)
        return outcome

    async def note_held(self, incarnation: UUID, skus: Sequence[str]) -> None:
        await self._answer()
        self.noted += [(incarnation, sku) for sku in skus]

    async def rows(self, incarnation: UUID, skus: Sequence[str]) -> Mapping[str, Row]:
        await self._answer()
        held = {sku: self.skus[sku].held.get(incarnation) for sku in skus if sku in self.skus}
        return {sku: row for sku, row in held.items() if row is not None}

    async def read(self, sku: str, consistency: Consistency) -> Ledger | None:
        del consistency
        await self._answer()
        if sku not in self.skus:
            return None
        model = self.skus[sku]
        ledger = Ledger(sku, self.policies[sku], model.available, dict(model.restocks), dict(model.held))
        ledger = ledger._replace(owners=self.owners.get(sku, 1))
        if self.before_read_answers is not None:
            await self.before_read_answers()
        return ledger

    async def head(self, sku: str) -> Head | None:
        ledger = await self.read(sku, Consistency.QUORUM)
        return ledger and Head(ledger.policy, ledger.available, ledger.owners)

    async def fold(self, sku: str, incarnation: UUID, before: Row | None, sold: int) -> WriteOutcome:
        await self._answer()
        return self.skus[sku].apply(Fold(incarnation, before, sold))

    async def skus_noted(self, incarnation: UUID) -> Sequence[str]:
        await self._answer()
        return [sku for noted, sku in self.noted if noted == incarnation]

    async def add_sold(self, sku: str, cell: Cell, units: int) -> None:
        await self._answer()
        fate = self.fates.popleft() if self.fates else Fate.ANSWERED
        if fate is Fate.AWAY:
            raise StoreUnreachable("away for a moment")
        self.additions.append((sku, cell, units))
        if fate is Fate.LATE_UNHEARD:
            self.late_additions.append((sku, cell, units))
        elif fate is not Fate.LOST_UNHEARD:
            self._add_sold(sku, cell, units)
        if fate is not Fate.ANSWERED:
            raise StoreUnreachable("no answer", outcome_unknown=True)

    def land_addition(self, place: int = 0) -> None:
        self._add_sold(*self.late_additions.pop(place))

    def _add_sold(self, sku: str, cell: Cell, units: int) -> None:
        added = self.added.setdefault(sku, {})
        added[cell] = added.get(cell, 0) + units

    async def close_cell(self, sku: str, cell: Cell, units: int) -> None:
        await self._answer()
        closed = self.closed.setdefault(sku, {})
        assert closed.setdefault(cell, units) == units, "a cell is closed with one value only"

    async def counts(self, sku: str, consistency: Consistency) -> Counts:
        del consistency
        await self._answer()
        if self.counts_away:
            raise StoreUnreachable("away for readers")
        self.counts_read += 1
        return self.counts_now(sku)

    def counts_now(self, sku: str) -> Counts:
        return Counts(dict(self.added.get(sku, {})), dict(self.closed.get(sku, {})))

    async def create_sku(self, sku: str, policy: StockPolicy) -> StockPolicy | None:
        raise NotImplementedError

    async def spread(self, sku: str, owners: int) -> bool:
        raise NotImplementedError

    async def restock(self, sku: str, restock_id: UUID, units: int) -> WriteOutcome:
        raise NotImplementedError

    async def withdraw(self, sku: str, withdrawal_id: UUID, units: int) -> WriteOutcome:
        raise NotImplementedError

    async def list_skus(self, after: str | None, limit: int) -> SkuPage:
        raise NotImplementedError

    async def careless_settings(self) -> Sequence[str]:
        return []

    async def ping(self) -> None:
        await self._answer()

    async def close(self) -> None:
        pass

    async def _arrive(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.latency_s)
            await self.answering.wait()
        finally:
            self.at_once -= 1

    async def _answer(self) -> None:
        await self._arrive()
        if self.away:
            raise StoreUnreachable("away")
