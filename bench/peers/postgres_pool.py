"""Connections of the PostgreSQL peers: each transaction is one call of a function, so each is one round trip."""

import asyncpg

CONNECTIONS = 16
"""On one hot row sixteen were as fast as any number; on unit rows more buys little on two cores."""


async def open_pool(url: str, statements: str) -> asyncpg.Pool:
    """With the tables and functions of `statements` in place."""
    pool = await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    await pool.execute(statements)
    return pool
