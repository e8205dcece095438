"""Where the Cassandra peers keep their tables."""

from stockd.stores.cassandra_session import CassandraSession, connect

KEYSPACE = "bench_peers"
LOCAL_DC = "datacenter1"
REQUEST_TIMEOUT_S = 5.0
"""As long as a caller may wait: a slow answer is counted as slow, not as lost."""

IN_FLIGHT = 16
"""With 64 at once on one row there were 7 % more conditional writes, each four times as slow, and on a server that has
just started some ran into its contention limit. Whoever comes meanwhile waits here for as long as it takes.
"""

_KEYSPACE_STATEMENT = (
    f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = "
    f"{{'class': 'NetworkTopologyStrategy', '{LOCAL_DC}': 1}}"
)


async def open_with(contact_points: str, table: str, last_column: str, create: str) -> CassandraSession:
    session = await connect(contact_points, LOCAL_DC, REQUEST_TIMEOUT_S)
    await session.create(KEYSPACE, {table: last_column}, (_KEYSPACE_STATEMENT, create))
    return session
