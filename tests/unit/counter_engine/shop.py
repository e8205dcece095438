"""Several engines on one store and one journal in memory, in virtual time, selling SKUs with the policy `counter`."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from prometheus_client import CollectorRegistry

from sluice.counting import counted_by, max_oversell
from sluice.model import StockPolicy
from sluice.seams.stock_keeper import Reservation, Settlement
from stockd.engine import Engine
from stockd.metrics import StockdMetrics
from stockd.reclaim import HeldRow, fold
from tests.unit.fake_journal import FakeJournal
from tests.unit.fake_stock_store import FakeStockStore
from tests.unit.stock_engine.parts import GRACE_S, STORE_TIMEOUT_S, TIMEOUT_S, Cart, batch_of
from tests.unit.virtual_time import clock

REFRESH_S = 0.1


class Shop:
    """`store` and `journal` are the test's to break; `engines` are what is tested, each an incarnation of its own."""

    def __init__(self, engines: int = 1) -> None:
        self.store = FakeStockStore()
        self.journal = FakeJournal()
        self.engines: list[Engine] = []
        for _ in range(engines):
            self.start()

    def start(self) -> Engine:
        incarnation = UUID(int=100 + len(self.engines))
        self.journal.registered[incarnation] = False
        engine = Engine(
            incarnation=incarnation,
            store=self.store,
            journal=self.journal,  # type: ignore[arg-type]  # what an engine uses of one
            monotonic=clock,
            cpu_s=lambda: 0.0,
            reservation_grace_s=GRACE_S,
            store_timeout_s=STORE_TIMEOUT_S,
            max_waiting_orders=100_000,
            owners=2,
            metrics=StockdMetrics(CollectorRegistry()),
            counter_refresh_s=REFRESH_S,
        )
        self.engines.append(engine)
        return engine

    def create(self, sku: str, units: int) -> None:
        self.store.create(sku, units, StockPolicy.COUNTER)

    async def reserve(self, number: int, *carts: Cart) -> Reservation:
        return await self.engines[number].reserve(batch_of(carts), (), TIMEOUT_S)

    def reserving(self, number: int, *carts: Cart) -> asyncio.Task[Reservation]:
        return asyncio.create_task(self.reserve(number, *carts))

    async def sell(self, reservation: Reservation, sold: Mapping[str, int]) -> None:
        """Commits the reservation and settles it."""
        self.journal.spends[reservation.incarnation, reservation.seq] = dict(sold)
        settlement = Settlement(reservation.incarnation, reservation.seq, sold)
        for engine in self.engines:
            await engine.settle([settlement], 1.0)

    async def cancel(self, number: int, units: Mapping[str, int]) -> None:
        """Units that were sold come back to a server."""
        key = await self.engines[number].reserve_return(units, 0, 1.0)
        row = self.journal.spends[key] = {sku: -count for sku, count in units.items()}
        await self.engines[number].settle([Settlement(*key, row)], 1.0)

    def fence(self, number: int) -> None:
        self.journal.registered[self.engines[number].incarnation] = True

    async def reclaim(self, number: int) -> None:
        """Of an engine that was fenced."""
        incarnation = self.engines[number].incarnation
        assert self.journal.registered[incarnation]
        sold = self.journal.sold_by_sku(incarnation)
        skus = {sku for noted, sku in self.store.noted if noted == incarnation} | sold.keys()
        async for _ in fold([HeldRow(incarnation, sku, sold.get(sku, 0)) for sku in skus], self.store):
            pass

    def sold(self, sku: str) -> int:
        return self.journal.sold_by_sku().get(sku, 0)

    def restocked(self, sku: str) -> int:
        return sum(self.store.skus[sku].restocks.values())

    def counted(self, sku: str) -> int:
        return sum(counted_by(self.store.counts_now(sku)).values())

    def max_oversell(self, sku: str) -> int:
        """As published now."""
        return max_oversell(self.store.counts_now(sku), self.restocked(sku))

    def check_nothing_taken(self, sku: str) -> None:
        ledger = self.store.skus[sku]
        assert ledger.held == {}
        assert ledger.available == self.restocked(sku)
