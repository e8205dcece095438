"""Orders that are committed straight to the journal, as gateways commit them: in batches, at a steady rate."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from journal.events import encode_order_events
from journal.postgres import PostgresJournal
from journal.protocol import Batch, Committed
from sluice.model import Line, NewOrder

SKUS = tuple(f"sku-{number}" for number in range(200))
BATCH_S = 0.02
"""Between batches: at 2,000 orders/s as large as those of a gateway under load."""


class Sale:
    def __init__(self, journal: PostgresJournal, orders_per_s: float) -> None:
        self._journal = journal
        self._orders_per_s = orders_per_s
        self._random = Random(4096)
        self._enough = asyncio.Event()
        self.order_ids: set[str] = set()
        self.sold: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        """Events of each SKU."""

    @property
    def orders(self) -> int:
        return len(self.order_ids)

    @property
    def journal_id(self) -> UUID:
        return self._journal.journal_id

    def end(self) -> None:
        self._enough.set()

    async def go_on(self) -> None:
        """Until `end`: by the clock, so that what is slow is not spared."""
        began = time.monotonic()
        while not self._enough.is_set():
            due = int((time.monotonic() - began) * self._orders_per_s) - self.orders
            if due > 0:
                await self._commit(min(due, 500))
            await asyncio.sleep(BATCH_S)

    async def _commit(self, count: int) -> None:
        orders = []
        for _ in range(count):
            sku, quantity = self._random.choice(SKUS), self._random.randrange(1, 4)
            orders.append(
                NewOrder(str(UUID(int=self._random.getrandbits(128), version=4)), "anna", (Line(sku, quantity),))
            )
            self.sold[sku] += quantity
            self.changes[sku] += 1
        now = datetime.now(UTC)
        events, event_count = encode_order_events(orders, now)
        assert await self._journal.commit(Batch(orders, [], events, event_count, now)) == Committed()
        self.order_ids |= {order.order_id for order in orders}

    async def until_outbox_empty(self, limit_s: float) -> float:
        """Seconds until everything is on Kafka."""
        began = time.monotonic()
        async with asyncio.timeout(limit_s):
            while (await self._journal.backlog()).rows:  # noqa: ASYNC110 - the relay's work
                await asyncio.sleep(BATCH_S)
        return time.monotonic() - began
