"""Cassandra with one conditional write for each order: exact, and what the field calls the safe way."""

from bench.orders import HOT_SKUS, UNITS
from bench.peers.serving import KEYSPACE, Reserve, keyspace_statement, serve
from stockd.stores.cassandra_session import CassandraSession

TABLE = "lwt_per_order"


async def open_peer(session: CassandraSession) -> Reserve:
    table = f"CREATE TABLE {KEYSPACE}.{TABLE} (sku text PRIMARY KEY, available bigint)"
    await session.create(KEYSPACE, {TABLE: "sku"}, (keyspace_statement(), table))
    insert = await session.prepare(f"INSERT INTO {KEYSPACE}.{TABLE} (sku, available) VALUES (?, ?) IF NOT EXISTS")
    for sku in HOT_SKUS:
        await session.write(insert.bind((sku, UNITS)))
    take = await session.prepare(
        f"UPDATE {KEYSPACE}.{TABLE} SET available = available + ? WHERE sku = ? IF available >= ?"
    )

    async def reserve(sku: str, quantity: int) -> bool:
        answer = await session.write(take.bind((-quantity, sku, quantity)))
        return bool(answer.rows[0][0])

    return reserve


if __name__ == "__main__":
    serve(TABLE, open_peer)
