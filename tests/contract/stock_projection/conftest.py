"""Every promise of the seam is checked on every implementation."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from consumers.runtime.handling import now_ms
from sluice.seams.stock_projection import StockProjection
from sluice.sqlite_file import SqliteFile
from stockd.stores.cassandra_projection import CassandraProjection
from stockd.stores.sqlite_projection import SqliteProjection


@pytest.fixture(params=["sqlite", pytest.param("cassandra", marks=pytest.mark.servers)])
async def projection(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StockProjection]:
    if request.param == "sqlite":
        file = await SqliteFile.open(tmp_path / "projection.db")
        yield await SqliteProjection.open(file, now_ms)
        await file.close()
        return
    contact_points = request.getfixturevalue("cassandra_contact_points")
    cassandra = await CassandraProjection.open(contact_points, "projection_contract", 1, "datacenter1", now_ms)
    yield cassandra
    await cassandra.close()


@pytest.fixture
def generation() -> UUID:
    """One that nobody has used."""
    return uuid4()
