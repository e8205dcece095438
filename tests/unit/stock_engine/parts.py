"""One engine on a store and a journal in memory, in virtual time."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from prometheus_client import CollectorRegistry

from journal.all_journals import whole
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement, Verdict
from stockd.engine import Engine
from stockd.metrics import StockdMetrics
from tests.unit.fake_journal import FakeJournal
from tests.unit.fake_stock_store import FakeStockStore
from tests.unit.virtual_time import clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

INCARNATION = UUID(int=100)
GRACE_S = 3.0
STORE_TIMEOUT_S = 1.2
TIMEOUT_S = 5.0

GRANTED = Verdict.GRANTED
OUT_OF_STOCK = Verdict.OUT_OF_STOCK
SKU_NOT_FOUND = Verdict.SKU_NOT_FOUND
LEDGER_UNREACHABLE = Verdict.LEDGER_UNREACHABLE

Cart = Mapping[str, int]


class Parts:
    """`store` and `journal` are the test's to break; `engine` is what is tested. `journals`: of several, all."""

    def __init__(
        self,
        max_waiting_orders: int = 1_000,
        store: FakeStockStore | None = None,
        incarnation: UUID = INCARNATION,
        shards: int = 1,
    ) -> None:
        self.store = store or FakeStockStore()
        self.journals = [FakeJournal() for _ in range(shards)]
        for each in self.journals:
            each.registered[incarnation] = False
        self.journal = self.journals[0]
        self.computed_s = 0.0
        self.registry = CollectorRegistry()
        self.engine = Engine(
            incarnation=incarnation,
            store=self.store,
            journal=whole(self.journals),  # type: ignore[arg-type]  # what an engine uses of one
            monotonic=clock,
            cpu_s=lambda: self.computed_s,
            reservation_grace_s=GRACE_S,
            store_timeout_s=STORE_TIMEOUT_S,
            max_waiting_orders=max_waiting_orders,
            owners=1,
            metrics=StockdMetrics(self.registry),
        )

    async def reserve(self, *carts: Cart, timeout_s: float = TIMEOUT_S) -> Reservation:
        return await self.engine.reserve(batch_of(carts), (), timeout_s)

    def reserving(self, *carts: Cart, timeout_s: float = TIMEOUT_S) -> asyncio.Task[Reservation]:
        return asyncio.create_task(self.reserve(*carts, timeout_s=timeout_s))

    async def sell(self, reservation: Reservation, sold: Mapping[str, int]) -> None:
        """Commits the reservation and settles it."""
        self.journal.spends[reservation.incarnation, reservation.seq] = dict(sold)
        await self.engine.settle([Settlement(reservation.incarnation, reservation.seq, sold)], 1.0)

    @asynccontextmanager
    async def housekeeping(self) -> "AsyncIterator[asyncio.Task[None]]":
        task = asyncio.create_task(self.engine.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def held(self, sku: str) -> int:
        return self.store.held(sku, INCARNATION)

    def check_quiet(self) -> None:
        """Nothing is kept in memory, and the ledger holds for us what was sold and nothing else."""
        assert self.engine.units_free() == 0
        assert self.engine.units_in_doubt() == 0
        assert self.engine.open_reservations() == 0
        sold = self.journal.sold_by_sku(INCARNATION)
        assert {sku: self.held(sku) for sku in self.store.skus} == {sku: sold.get(sku, 0) for sku in self.store.skus}
        self.store.check_conservation()


def batch_of(carts: Sequence[Cart]) -> ReserveBatch:
    skus = list(dict.fromkeys(sku for cart in carts for sku in cart))
    return ReserveBatch(
        skus,
        [len(cart) for cart in carts],
        [skus.index(sku) for cart in carts for sku in cart],
        [quantity for cart in carts for quantity in cart.values()],
    )


def verdicts(*reserving: asyncio.Task[Reservation]) -> list[Verdict | None]:
    """Of requests of one order each; None: not decided yet."""
    return [Verdict(task.result().verdicts[0]) if task.done() else None for task in reserving]
