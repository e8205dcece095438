"""A stock server that has too much to do with one SKU asks gateways to spread it, and takes that back afterwards: on a
real ledger, whose conditional writes are what the orders wait for.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from sluice.model import StockPolicy
from sluice.seams.stock_keeper import ReserveBatch, Settlement
from sluice.seams.stock_store import Applied
from stockd.engine import Engine
from stockd.metrics import StockdMetrics
from stockd.stores.cassandra import CassandraStore
from tests.integration.buying import until
from tests.journals import new_sqlite_journal, registered

LIMIT_S = 10.0
MAX_WAITING = 100
BUYERS = 80
"""Of which nearly all wait at any time: more than the half that makes a server saturated, fewer than it refuses."""


@pytest.mark.servers
async def test_it_is_spread_while_its_server_is_saturated_and_no_longer(
    cassandra_contact_points: str, tmp_path: Path
) -> None:
    sku = f"ticket-{uuid4().hex[:8]}"
    store = await CassandraStore.open(cassandra_contact_points, "test_spreading", 1, "datacenter1")
    async with new_sqlite_journal(tmp_path) as journal:
        await store.create_sku(sku, StockPolicy.EXACT)
        assert await store.restock(sku, uuid4(), 10_000_000) == Applied()
        await registered(journal, "stockd-1")  # somebody to spread it to
        engine = Engine(
            incarnation=await registered(journal, "stockd-0"),
            store=store,
            journal=journal,
            monotonic=time.monotonic,
            cpu_s=time.thread_time,
            reservation_grace_s=60.0,
            store_timeout_s=LIMIT_S,
            max_waiting_orders=MAX_WAITING,
            owners=2,
            metrics=StockdMetrics(CollectorRegistry()),
        )

        async def buy() -> int:
            """Over how many owners the answer says that it should be spread."""
            reservation = await engine.reserve(ReserveBatch([sku], (), [0], [1]), (), LIMIT_S)
            await engine.settle([Settlement(reservation.incarnation, reservation.seq, {sku: 1})], LIMIT_S)
            return reservation.owners[0] if reservation.owners else 1

        housekeeping = asyncio.create_task(engine.run())
        buyers = [asyncio.create_task(_for_ever(buy)) for _ in range(BUYERS)]
        try:
            await until("it is spread", lambda: _is(buy, 2), limit_s=30.0)
        finally:
            for buyer in buyers:
                buyer.cancel()
            await asyncio.gather(*buyers, return_exceptions=True)
        await until("it is not spread any more", lambda: _is(buy, 1), limit_s=30.0)
        housekeeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await housekeeping
        await engine.drain(LIMIT_S)
    await store.close()


async def _for_ever(act: Callable[[], Awaitable[object]]) -> None:
    while True:
        await act()


async def _is(owners: Callable[[], Awaitable[int]], wanted: int) -> bool:
    return await owners() == wanted
