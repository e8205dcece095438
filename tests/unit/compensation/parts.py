"""A SQLite journal and ledger with orders of counted SKUs, and compensation over their events."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from consumers.compensation import Compensation
from journal.events import decode_events, encode_order_events
from journal.protocol import Batch, Committed, Spend, Transition
from journal.sqlite import SqliteJournal
from journal.sqlite_tallies import SqliteTallies
from journal.tallies import Victims
from orders.moving import move_orders
from sluice.model import Line, NewOrder, Order, OrderState, StockPolicy, units_by_sku
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, LoggedEvent
from sluice.seams.stock_keeper import Settlement
from sluice.sqlite_file import SqliteFile
from stockd.stores.sqlite import SqliteStore


class OneOwner:
    """A stock server that takes everything back."""

    def __init__(self, incarnation: UUID) -> None:
        self.incarnation = incarnation
        self.seq = 1_000_000

    def owner_of(self, sku: str) -> "OneOwner":
        return self

    async def reserve_return(self, units: Mapping[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        self.seq += 1
        return self.incarnation, self.seq

    def settle(self, settlement: Settlement) -> None: ...

    def mark_away(self, reason: str) -> None: ...


class Meters:
    def __init__(self) -> None:
        self.orders = 0

    def oversold(self, orders: int, units: int) -> None:
        self.orders += orders


class Shop:
    def __init__(self, journal: SqliteJournal, tallies: SqliteTallies, store: SqliteStore, owner: OneOwner) -> None:
        self.journal = journal
        self.tallies = tallies
        self.store = store
        self.owner = owner
        self.move = partial(move_orders, owners=owner, journal=journal, now=lambda: datetime.now(UTC))
        self.placed: list[NewOrder] = []
        self.read = 0
        self._seq = 0

    async def create(self, sku: str, units: int, policy: StockPolicy = StockPolicy.COUNTER) -> None:
        await self.store.create_sku(sku, policy)
        await self.restock(sku, units)

    async def restock(self, sku: str, units: int) -> None:
        await self.store.restock(sku, uuid4(), units)

    async def place(self, *carts: Mapping[str, int], priority: int = 0) -> list[str]:
        """One batch of orders; their ids."""
        orders = [
            NewOrder(str(uuid4()), "anna", tuple(Line(sku, cart[sku]) for sku in sorted(cart)), None, priority)
            for cart in carts
        ]
        self._seq += 1
        now = datetime.now(UTC)
        events, count = encode_order_events(orders, now)
        spends = [Spend(self.owner.incarnation, self._seq, units_by_sku(orders))]
        assert await self.journal.commit(Batch(orders, spends, events, count, now)) == Committed()
        self.placed += orders
        return [order.order_id for order in orders]

    async def cancel(self, order_id: str) -> None:
        order = (await self.journal.find_orders([order_id]))[order_id]
        if order.state is not OrderState.CANCELLED:
            await self.move([Transition(order, OrderState.CANCELLED, "CLIENT")])

    async def events(self) -> list[LoggedEvent]:
        """All `stock-changed`, from the first."""
        rows = await self.journal.read_outbox(0, 100_000)
        events = [event for row in rows for event in decode_events(row, self.journal.journal_id)]
        stock = [event for event in events if event.topic == TOPIC_STOCK_CHANGED]
        return [LoggedEvent(event, 0, offset) for offset, event in enumerate(stock)]

    def compensation(self, victims: Victims = Victims.NEWEST_FIRST, repaired: list[str] | None = None) -> Compensation:
        async def repair(sku: str) -> None:
            (repaired if repaired is not None else []).append(sku)

        return Compensation(
            self.tallies, self.store, self.move, repair, Meters(), victims=victims, monotonic=lambda: 0.0
        )

    async def deliver(self, compensation: Compensation, most: int = 1_000, *, again: int = 0) -> None:
        """The next events, and `again` of those before them once more."""
        events = await self.events()
        start = max(0, self.read - again)
        batch = events[start : self.read + most]
        self.read = max(self.read, start + len(batch))
        if batch:
            await compensation.handle(batch)

    async def orders(self) -> dict[str, Order]:
        return dict(await self.journal.find_orders([order.order_id for order in self.placed]))

    async def oversold(self) -> list[str]:
        """Orders cancelled as OVERSOLD, in the order of placing."""
        standing = await self.orders()
        return [order.order_id for order in self.placed if standing[order.order_id].reason == "OVERSOLD"]

    async def sold(self, sku: str) -> int:
        return (await self.journal.sold([sku])).get(sku, 0)


@asynccontextmanager
async def open_shop(directory: Path) -> AsyncIterator[Shop]:
    file = await SqliteFile.open(directory / "shop.db")
    try:
        journal = await SqliteJournal.open(file)
        store = await SqliteStore.open(file)
        incarnation = uuid4()
        await journal.register("stockd-0", incarnation, datetime.now(UTC))
        yield Shop(journal, SqliteTallies(file), store, OneOwner(incarnation))
    finally:
        await file.close()


def one_each(count: int, sku: str = "hot", units: int = 1) -> Sequence[Mapping[str, int]]:
    return [{sku: units}] * count
