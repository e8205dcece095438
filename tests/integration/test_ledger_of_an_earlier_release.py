"""A ledger in a form that this release does not read is not passed over for an empty one beside it."""

from uuid import uuid4

import pytest

from sluice.errors import LedgerTooOld
from stockd.stores import cassandra_schema
from stockd.stores.cassandra import CassandraStore
from stockd.stores.cassandra_session import connect

pytestmark = pytest.mark.servers

STOCK = """
CREATE TABLE {keyspace}.stock (
    sku text, kind tinyint, id uuid, available bigint STATIC, policy text STATIC, units bigint,
    PRIMARY KEY (sku, kind, id)
)
"""


async def test_opening_it_says_what_to_do(cassandra_contact_points: str) -> None:
    keyspace = f"old_{uuid4().hex}"
    session = await connect(cassandra_contact_points, "datacenter1", 5.0)
    statements = (cassandra_schema.KEYSPACE, STOCK)
    creates = [text.format(keyspace=keyspace, local_dc="datacenter1", replication_factor=1) for text in statements]
    await session.create(keyspace, cassandra_schema.TABLES_BEFORE, creates)
    with pytest.raises(LedgerTooOld, match=f"{keyspace}.*give it another keyspace"):
        await CassandraStore.open(cassandra_contact_points, keyspace, 1, "datacenter1")
    with pytest.raises(LedgerTooOld, match=keyspace):
        await CassandraStore.open_standing(cassandra_contact_points, keyspace, "datacenter1")
    assert not await session.stands(keyspace, {"ledger": "available"})
    await session.close()
