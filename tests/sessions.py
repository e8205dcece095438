"""Other sessions of a PostgreSQL database: one that holds a lock, and waiting until others wait for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

HOLD_ORDER = "INSERT INTO orders VALUES ($1, 'other', '[]', 2, 1, now(), now())"

WAITING_LIMIT_S = 20.0


@asynccontextmanager
async def someone_holds(url: str, statement: str, *arguments: Any) -> AsyncIterator[None]:
    """Another session has run `statement` and does not commit."""
    connection = await asyncpg.connect(url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement, *arguments)
        yield
        await transaction.rollback()
    finally:
        await connection.close()


async def until_waiting(connection: asyncpg.Connection, sessions: int) -> None:
    async with asyncio.timeout(WAITING_LIMIT_S):
        while True:
            waiting = await connection.fetchval(
                "SELECT count(DISTINCT l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE NOT l.granted AND a.datname = current_database()"
            )
            if waiting >= sessions:
                return
