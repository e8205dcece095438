"""PostgreSQL with a row for each unit: buyers take different rows and never wait for each other."""

from uuid import UUID

import asyncpg

from bench.peers.postgres_pool import open_pool

# Free units are found through an index of free units only, and each buyer skips those that others are about to take.
_STATEMENTS = """
CREATE SCHEMA IF NOT EXISTS unit_rows;
CREATE TABLE IF NOT EXISTS unit_rows.units (sku text NOT NULL, unit bigint NOT NULL, order_id uuid)
    WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS units_free ON unit_rows.units (sku, unit) WHERE order_id IS NULL;
CREATE INDEX IF NOT EXISTS units_by_order ON unit_rows.units (order_id) WHERE order_id IS NOT NULL;
CREATE OR REPLACE FUNCTION unit_rows.reserve(wanted_id uuid, wanted_sku text, n bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE found tid[];
BEGIN
    IF EXISTS (SELECT FROM unit_rows.units WHERE order_id = wanted_id) THEN RETURN true; END IF;
    SELECT array_agg(place) INTO found FROM (
        SELECT ctid AS place FROM unit_rows.units WHERE sku = wanted_sku AND order_id IS NULL
        ORDER BY unit LIMIT n FOR UPDATE SKIP LOCKED
    ) AS free;
    IF coalesce(array_length(found, 1), 0) < n THEN RETURN false; END IF;
    UPDATE unit_rows.units SET order_id = wanted_id WHERE ctid = ANY (found);
    RETURN true;
END $$;
"""


class SkipLockedPeer:
    """See `bench.peers.protocol.Peer`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def add_stock(self, sku: str, units: int) -> None:
        await self._pool.execute("INSERT INTO unit_rows.units SELECT $1, generate_series(1, $2::bigint)", sku, units)
        # A shop's table has been vacuumed and analysed long before its sale.
        await self._pool.execute("VACUUM ANALYZE unit_rows.units")

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        return bool(await self._pool.fetchval("SELECT unit_rows.reserve($1, $2, $3)", order_id, sku, quantity))

    async def close(self) -> None:
        await self._pool.close()


async def open_peer(address: str) -> SkipLockedPeer:
    return SkipLockedPeer(await open_pool(address, _STATEMENTS))
