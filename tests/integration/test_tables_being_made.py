"""Who opens a store while another process makes its tables waits for them."""

import asyncio
from functools import partial

import pytest

from stockd.stores.cassandra_session import connect
from stockd.stores.opening import RETRY_PAUSE_S, retry_until

LIMIT_S = 30.0
_KEYSPACE = "CREATE KEYSPACE being_made WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
MAKES = [_KEYSPACE, "CREATE TABLE being_made.later (name text PRIMARY KEY, units int)"]
READS = "SELECT units FROM being_made.later WHERE name = ?"


@pytest.mark.servers
async def test_a_statement_is_prepared_when_its_table_is_there(cassandra_contact_points: str) -> None:
    session = await connect(cassandra_contact_points, "datacenter1", LIMIT_S)
    try:
        deadline = asyncio.get_running_loop().time() + LIMIT_S
        early = asyncio.create_task(retry_until(deadline, partial(session.prepare, READS)))
        done, _ = await asyncio.wait([early], timeout=2 * RETRY_PAUSE_S)
        assert not done, "it gave up because the table was not there yet"
        await session.create("being_made", {"later": "units"}, MAKES)
        prepared = await early
        assert not (await session.write(prepared.bind(("mug",)))).rows
    finally:
        await session.close()
