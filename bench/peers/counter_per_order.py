"""Cassandra with one read and one counter addition for each order: fast to write down, and sells beyond the stock."""

import asyncio
from typing import Any
from uuid import UUID

from cassandra import ConsistencyLevel

from bench.peers.cassandra_tables import IN_FLIGHT, KEYSPACE, open_with
from stockd.stores.cassandra_session import CassandraSession

TABLE = "counter_per_order"


class CounterPeer:
    """See `bench.peers.protocol.Peer`; what many read before any of them has added is sold to all of them."""

    def __init__(self, session: CassandraSession, look: Any, add: Any) -> None:
        self._session = session
        self._look = look
        self._add = add
        self._places = asyncio.Semaphore(IN_FLIGHT)
        # How many units there were at first changes with a restock only: users keep that in their configuration.
        self._stock: dict[str, int] = {}

    async def add_stock(self, sku: str, units: int) -> None:
        self._stock[sku] = self._stock.get(sku, 0) + units

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        del order_id
        async with self._places:
            answer = await self._session.read(self._look.bind((sku,)), ConsistencyLevel.LOCAL_QUORUM)
            sold = answer.rows[0][0] if answer.rows else 0
            if sold + quantity > self._stock.get(sku, 0):
                return False
            await self._session.write(self._add.bind((quantity, sku)))
            return True

    async def close(self) -> None:
        await self._session.close()


async def open_peer(address: str) -> CounterPeer:
    table = f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.{TABLE} (sku text PRIMARY KEY, sold counter)"
    session = await open_with(address, TABLE, "sold", table)
    look = await session.prepare(f"SELECT sold FROM {KEYSPACE}.{TABLE} WHERE sku = ?")
    add = await session.prepare(f"UPDATE {KEYSPACE}.{TABLE} SET sold = sold + ? WHERE sku = ?")
    return CounterPeer(session, look, add)
