"""What a test of a stock store's outage needs: takers that go on, and limits that are watched."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest

from sluice.errors import StoreUnreachable
from sluice.seams.stock_store import Applied, Consistency, Refused, Row, StockStore
from stockd.stores.opening import retry_until

CALL_LIMIT_S = 2.0
"""As callers are promised. The stores' own limits are 1.7 s, which leaves a little for a busy machine."""

LOOP_BLOCKED_LIMIT_S = 0.5
"""Cassandra's driver would wait for a free stream for two seconds, and block the loop."""

RECOVERY_LIMIT_S = 30.0


@contextlib.asynccontextmanager
async def loop_never_blocked() -> AsyncIterator[None]:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.02)
            longest = max(longest, loop.time() - before - 0.02)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
    assert longest < LOOP_BLOCKED_LIMIT_S


async def unreachable_in_time(call: Callable[[], Awaitable[object]]) -> StoreUnreachable:
    async with asyncio.timeout(CALL_LIMIT_S):
        with pytest.raises(StoreUnreachable) as caught:
            await call()
    return caught.value


async def recovered(store: StockStore) -> None:
    await retry_until(asyncio.get_running_loop().time() + RECOVERY_LIMIT_S, store.ping)


class Taker:
    """Takes one unit after the other and resolves what it does not know as stockd must: by sending it again."""

    def __init__(self, store: StockStore, sku: str) -> None:
        self.store = store
        self.sku = sku
        self.incarnation = uuid4()
        self.row: Row | None = None
        self.unknown = 0
        self.stopping = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.stopping:
            wanted = Row(self.row.units + 1, self.row.version + 1) if self.row else Row(1, 1)
            while True:
                started = loop.time()
                try:
                    outcome = await self.store.take(self.sku, self.incarnation, self.row, 1)
                except StoreUnreachable as error:
                    assert loop.time() - started < CALL_LIMIT_S
                    self.unknown += error.outcome_unknown
                    await asyncio.sleep(0.05)
                    continue
                assert outcome == Applied() or (isinstance(outcome, Refused) and outcome.row == wanted)
                self.row = wanted
                break


async def rows_are_exact(store: StockStore, sku: str, takers: list[Taker]) -> None:
    ledger = await store.read(sku, Consistency.STRONG)
    assert ledger is not None
    assert ledger.held == {taker.incarnation: taker.row for taker in takers}
    assert sum(ledger.restocks.values()) == ledger.available + sum(row.units for row in ledger.held.values())
