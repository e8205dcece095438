"""Settings of a PostgreSQL server that may lose what it has committed. What a connection can set for itself it does."""

from collections.abc import Sequence

from journal.connections import connect, run_on

_QUERY = "SELECT name FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off' ORDER BY name"


async def careless_settings(url: str, timeout_s: float) -> Sequence[str]:
    """In words; nothing if nothing is wrong. Raises JournalUnreachable."""
    connection = await connect(url, timeout_s, timeout_s)
    try:
        rows = await run_on(connection, lambda c: c.fetch(_QUERY), timeout_s)
    finally:
        connection.terminate()
    return [f"PostgreSQL: {row['name']} is off" for row in rows]
