"""Three servers sell the same counter SKUs from one real store, 100 ms between reads: they do oversell, never beyond
the bound, and when they are gone the counter says what was sold.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from journal.protocol import Batch, Committed, Journal, Spend
from sluice.counting import counted, counted_by, max_oversell
from sluice.model import StockPolicy
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement, Verdict
from sluice.seams.stock_store import Applied, Consistency, StockStore
from sluice.sqlite_file import SqliteFile
from stockd.counter_repair import CounterDrift, counter_drift, repair_counter
from stockd.engine import Engine
from stockd.metrics import StockdMetrics
from stockd.stores.cassandra import CassandraStore
from stockd.stores.redis import RedisStore
from stockd.stores.sqlite import SqliteStore
from tests.journals import NOW, new_sqlite_journal

REFRESH_S = 0.1
LIMIT_S = 10.0
SKUS = 20
UNITS = 15


class Shop(NamedTuple):
    store: StockStore
    journal: Journal

    @asynccontextmanager
    async def server(self, name: str) -> AsyncIterator[Engine]:
        """Dies at the end, with what it has not counted."""
        incarnation = uuid4()
        await self.journal.register(name, incarnation, NOW)
        engine = Engine(
            incarnation=incarnation,
            store=self.store,
            journal=self.journal,
            monotonic=time.monotonic,
            cpu_s=time.thread_time,
            reservation_grace_s=3.0,
            store_timeout_s=LIMIT_S,
            max_waiting_orders=1_000,
            owners=2,
            metrics=StockdMetrics(CollectorRegistry()),
            counter_refresh_s=REFRESH_S,
        )
        try:
            yield engine
        finally:
            await self.journal.fence(incarnation)

    async def create(self, sku: str, units: int) -> None:
        await self.store.create_sku(sku, StockPolicy.COUNTER)
        assert await self.store.restock(sku, uuid4(), units) == Applied()

    async def reserve(self, engine: Engine, sku: str) -> Reservation:
        return await engine.reserve(ReserveBatch([sku], [], [0], [1]), [], LIMIT_S)

    async def commit(self, reservation: Reservation, sku: str) -> Settlement:
        """As a gateway does, but for the orders."""
        spend = Spend(reservation.incarnation, reservation.seq, {sku: 1})
        assert await self.journal.commit(Batch([], [spend], b"", 0, NOW)) == Committed()
        return Settlement(*spend)

    async def sell(self, engine: Engine, reservation: Reservation, sku: str) -> None:
        await engine.settle([await self.commit(reservation, sku)], LIMIT_S)

    async def buy_until_sold_out(self, engine: Engine, sku: str) -> None:
        while True:
            reservation = await self.reserve(engine, sku)
            if reservation.verdicts == [Verdict.OUT_OF_STOCK]:
                return
            assert reservation.verdicts == [Verdict.GRANTED]
            await self.sell(engine, reservation, sku)

    async def sold(self, sku: str) -> int:
        return (await self.journal.sold([sku])).get(sku, 0)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("cassandra", marks=pytest.mark.servers),
        pytest.param("redis", marks=pytest.mark.servers),
    ]
)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with new_sqlite_journal(tmp_path) as journal:
        if request.param == "sqlite":
            file = await SqliteFile.open(tmp_path / "stock.db")
            yield Shop(await SqliteStore.open(file), journal)
            await file.close()
        elif request.param == "redis":
            redis = await RedisStore.open(request.getfixturevalue("redis_url"), "counter_engines")
            yield Shop(redis, journal)
            await redis.close()
        else:
            contact_points = request.getfixturevalue("cassandra_contact_points")
            cassandra = await CassandraStore.open(contact_points, "counter_engines", 1, "datacenter1")
            yield Shop(cassandra, journal)
            await cassandra.close()


async def test_they_oversell_and_stay_below_the_bound(shop: Shop) -> None:
    skus = [f"sku-{uuid4()}" for _ in range(SKUS)]
    for sku in skus:
        await shop.create(sku, UNITS)
    async with shop.server("one") as one, shop.server("two") as two, shop.server("three") as three:
        servers = (one, two, three)
        # They all see the one that is there and sell it: what others grant nobody sees until it is sold and counted.
        the_last = f"sku-{uuid4()}"
        await shop.create(the_last, 1)
        last = await asyncio.gather(*(shop.reserve(server, the_last) for server in servers))
        assert [reservation.verdicts for reservation in last] == [[Verdict.GRANTED]] * 3
        await asyncio.gather(*map(shop.sell, servers, last, [the_last] * 3))
        assert await shop.sold(the_last) == 3

        await asyncio.gather(
            *(shop.buy_until_sold_out(server, sku) for sku in skus for server in servers for _ in "ab")
        )
        for sku in [*skus, the_last]:
            restocked = 1 if sku == the_last else UNITS
            bound = max_oversell(await shop.store.counts(sku, Consistency.QUORUM), restocked)
            assert restocked <= await shop.sold(sku) <= restocked + bound
            assert bound <= 2 * restocked

        await asyncio.sleep(3 * REFRESH_S)
        for sku in [*skus, the_last]:
            assert counted(await shop.store.counts(sku, Consistency.QUORUM)) == await shop.sold(sku)
            assert await counter_drift(sku, shop.journal, shop.store) == CounterDrift({}, {}, {})


async def test_what_twenty_dead_servers_did_not_count_is_found_and_put_right(shop: Shop) -> None:
    sku = f"sku-{uuid4()}"
    await shop.create(sku, 100)
    dead: dict[UUID, int] = {}
    for number in range(20):
        async with shop.server(f"stockd-{number}") as engine:
            await shop.commit(await shop.reserve(engine, sku), sku)  # and it dies before it hears of that
            dead[engine.incarnation] = -1
    found = await counter_drift(sku, shop.journal, shop.store)
    assert (found.gone, found.living) == (dead, {})
    await asyncio.gather(*(repair_counter(sku, shop.journal, shop.store) for _ in range(2)))
    assert await repair_counter(sku, shop.journal, shop.store) == CounterDrift({}, {}, {})
    assert counted_by(await shop.store.counts(sku, Consistency.QUORUM)) == dict.fromkeys(dead, 1)
