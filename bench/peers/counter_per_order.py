"""Cassandra with one read and one counter addition for each order: fast to write down, and sells beyond the stock."""

from cassandra import ConsistencyLevel

from bench.orders import HOT_SKUS, UNITS
from bench.peers.serving import KEYSPACE, Reserve, keyspace_statement, serve
from stockd.stores.cassandra_session import CassandraSession

TABLE = "counter_per_order"


async def open_peer(session: CassandraSession) -> Reserve:
    table = f"CREATE TABLE {KEYSPACE}.{TABLE} (sku text PRIMARY KEY, sold counter)"
    await session.create(KEYSPACE, {TABLE: "sku"}, (keyspace_statement(), table))
    look = await session.prepare(f"SELECT sold FROM {KEYSPACE}.{TABLE} WHERE sku = ?")
    add = await session.prepare(f"UPDATE {KEYSPACE}.{TABLE} SET sold = sold + ? WHERE sku = ?")
    stock = dict.fromkeys(HOT_SKUS, UNITS)

    async def reserve(sku: str, quantity: int) -> bool:
        answer = await session.read(look.bind((sku,)), ConsistencyLevel.LOCAL_QUORUM)
        sold = answer.rows[0][0] if answer.rows else 0
        if sold + quantity > stock[sku]:
            return False
        await session.write(add.bind((quantity, sku)))
        return True

    return reserve


if __name__ == "__main__":
    serve(TABLE, open_peer)
