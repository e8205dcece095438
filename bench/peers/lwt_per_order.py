"""Cassandra with one conditional write for each order: exact, and what the field calls the safe way."""

import asyncio
from typing import Any
from uuid import UUID

from bench.peers.cassandra_tables import IN_FLIGHT, KEYSPACE, open_with
from stockd.stores.cassandra_session import CassandraSession

TABLE = "lwt_per_order"


class LwtPeer:
    """See `bench.peers.protocol.Peer`; a repeat of an order takes again: the row does not know whose its units were."""

    def __init__(self, session: CassandraSession, insert: Any, take: Any) -> None:
        self._session = session
        self._insert = insert
        self._take = take
        self._places = asyncio.Semaphore(IN_FLIGHT)

    async def add_stock(self, sku: str, units: int) -> None:
        await self._session.write(self._insert.bind((sku, units)))

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        del order_id
        async with self._places:
            answer = await self._session.write(self._take.bind((-quantity, sku, quantity)))
        return bool(answer.rows[0][0])

    async def close(self) -> None:
        await self._session.close()


async def open_peer(address: str) -> LwtPeer:
    table = f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.{TABLE} (sku text PRIMARY KEY, available bigint)"
    session = await open_with(address, TABLE, "available", table)
    insert = f"INSERT INTO {KEYSPACE}.{TABLE} (sku, available) VALUES (?, ?) IF NOT EXISTS"
    take = f"UPDATE {KEYSPACE}.{TABLE} SET available = available + ? WHERE sku = ? IF available >= ?"
    return LwtPeer(session, await session.prepare(insert), await session.prepare(take))
