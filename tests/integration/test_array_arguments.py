"""An array's elements are not asked one by one, by an abstract class, whether they are arrays again.

asyncpg has no setting for it (`journal.connections.ARRAYS`). This fails if a version of it asks in another way.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from journal.connections import Connection, close, connect

pytestmark = pytest.mark.servers


@pytest.fixture
async def connection(postgres_url: str) -> AsyncIterator[Connection]:
    connection = await connect(postgres_url, 30.0, 0)
    yield connection
    await close(connection, 30.0)


async def test_lists_and_tuples_are_arrays(connection: Connection) -> None:
    for array in ([3, 1, 2], (3, 1, 2)):
        assert await connection.fetchval("SELECT $1::int[]", array) == [3, 1, 2]
    assert await connection.fetchval("SELECT $1::text[]", ["a", "bc"]) == ["a", "bc"]
    assert await connection.fetchval("SELECT $1::int[]", [[1, 2], [3, 4]]) == [[1, 2], [3, 4]]


async def test_what_is_only_iterable_and_sized_is_not_asked_for(connection: Connection) -> None:
    with pytest.raises(asyncpg.DataError, match="a sized iterable container expected"):
        await connection.fetchval("SELECT $1::int[]", range(3))
