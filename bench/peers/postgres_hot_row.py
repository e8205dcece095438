"""PostgreSQL as most shops do it: the order's row, and one row of stock that every order of the SKU updates."""

from uuid import UUID

import asyncpg

from bench.peers.postgres_pool import open_pool

# The hot row comes last, so that its lock is held only while the transaction commits. Who finds it empty looks without
# a lock first: otherwise everyone who comes too late would queue for nothing.
_STATEMENTS = """
CREATE SCHEMA IF NOT EXISTS hot_row;
CREATE TABLE IF NOT EXISTS hot_row.stock (sku text PRIMARY KEY, qty bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS hot_row.orders (
    id uuid PRIMARY KEY, sku text NOT NULL, qty bigint NOT NULL, created timestamptz NOT NULL DEFAULT now()
);
CREATE OR REPLACE FUNCTION hot_row.reserve(wanted_id uuid, wanted_sku text, n bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM hot_row.stock WHERE sku = wanted_sku AND qty >= n) THEN
        RETURN EXISTS (SELECT FROM hot_row.orders WHERE id = wanted_id);
    END IF;
    INSERT INTO hot_row.orders (id, sku, qty) VALUES (wanted_id, wanted_sku, n) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN RETURN true; END IF;
    UPDATE hot_row.stock SET qty = qty - n WHERE sku = wanted_sku AND qty >= n;
    IF FOUND THEN RETURN true; END IF;
    DELETE FROM hot_row.orders WHERE id = wanted_id;
    RETURN false;
END $$;
"""


class HotRowPeer:
    """See `bench.peers.protocol.Peer`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add_stock(self, sku: str, units: int) -> None:
        await self._pool.execute(
            "INSERT INTO hot_row.stock VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET qty = stock.qty + excluded.qty",
            sku,
            units,
        )

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        return bool(await self._pool.fetchval("SELECT hot_row.reserve($1, $2, $3)", order_id, sku, quantity))

    async def close(self) -> None:
        await self._pool.close()


async def open_peer(address: str) -> HotRowPeer:
    return HotRowPeer(await open_pool(address, _STATEMENTS))
