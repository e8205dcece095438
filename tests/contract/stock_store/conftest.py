"""Every promise of the seam is checked on every implementation."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from sluice.model import StockPolicy
from sluice.seams.stock_store import StockStore
from sluice.sqlite_file import SqliteFile
from stockd.stores.cassandra import CassandraStore
from stockd.stores.redis import RedisStore
from stockd.stores.sqlite import SqliteStore

CASSANDRA_KEYSPACE = "stock_contract"
REDIS_PREFIX = "stock_contract"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("cassandra", marks=pytest.mark.servers),
        pytest.param("redis", marks=pytest.mark.servers),
    ]
)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StockStore]:
    if request.param == "sqlite":
        file = await SqliteFile.open(tmp_path / "stock.db")
        yield await SqliteStore.open(file)
        await file.close()
    elif request.param == "redis":
        redis = await RedisStore.open(request.getfixturevalue("redis_url"), REDIS_PREFIX)
        yield redis
        await redis.close()
    else:
        contact_points = request.getfixturevalue("cassandra_contact_points")
        cassandra = await CassandraStore.open(contact_points, CASSANDRA_KEYSPACE, 1, "datacenter1")
        yield cassandra
        await cassandra.close()


@pytest.fixture
def new_sku() -> str:
    """A name that nobody has used."""
    return f"sku-{uuid4()}"


@pytest.fixture
async def sku(store: StockStore, new_sku: str) -> str:
    """Created, with nothing available."""
    assert await store.create_sku(new_sku, StockPolicy.EXACT) is None
    return new_sku
