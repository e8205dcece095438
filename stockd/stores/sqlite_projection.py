"""The projection in the SQLite file of an embedded gateway."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Self, TypeVar
from uuid import UUID

from sluice.errors import LedgerMissing
from sluice.seams.stock_projection import UNTOUCHED, Control, SkuChanges, SkuState, StockChange
from sluice.sqlite_file import SqliteFile
from stockd.stores.sqlite_calls import SqliteCalls

T = TypeVar("T")

HISTORY_KEPT_S = 7 * 24 * 3600
"""As in Cassandra: long enough to look at a sale after a week-end."""

EXPIRED_PER_WRITE = 8_000
"""Twice what one write adds at most, so that what has expired is gone soon, and no write takes long."""

SCANNED_PER_PAGE = 5_000

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS projection_control (
        name TEXT NOT NULL PRIMARY KEY,
        version INTEGER NOT NULL,
        live BLOB NOT NULL,
        rebuilding BLOB,
        handing_over INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS stock_state (
        generation BLOB NOT NULL,
        sku TEXT NOT NULL,
        journal BLOB NOT NULL,
        number INTEGER NOT NULL,
        place INTEGER NOT NULL,
        sold INTEGER NOT NULL,
        changes INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        PRIMARY KEY (generation, sku, journal)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS stock_update (
        generation BLOB NOT NULL,
        sku TEXT NOT NULL,
        journal BLOB NOT NULL,
        change INTEGER NOT NULL,
        delta INTEGER NOT NULL,
        order_id TEXT NOT NULL,
        order_version INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        PRIMARY KEY (generation, sku, journal, change)
    ) STRICT
    """,
    "CREATE INDEX IF NOT EXISTS stock_update_by_time ON stock_update (time_ms)",
)

_STATES = """
SELECT sku, journal, number, place, sold, changes, time_ms FROM stock_state
WHERE generation = ? AND sku IN (SELECT value FROM json_each(?))
"""
_PAGE = """
SELECT sku, journal, number, place, sold, changes, time_ms FROM stock_state
WHERE generation = ? AND (sku, journal) > (?, ?) ORDER BY sku, journal LIMIT ?
"""
_KEEP_STATE = """
INSERT INTO stock_state VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    number = excluded.number, place = excluded.place, sold = excluded.sold, changes = excluded.changes,
    time_ms = excluded.time_ms
WHERE (excluded.number, excluded.place) > (number, place)
"""
_RECENT = """
SELECT sku, journal, change, delta, order_id, order_version, time_ms FROM stock_update
WHERE generation = ? AND sku = ? ORDER BY time_ms DESC, journal, change DESC LIMIT ?
"""
_EXPIRE = "DELETE FROM stock_update WHERE rowid IN (SELECT rowid FROM stock_update WHERE time_ms < ? LIMIT ?)"


class SqliteProjection:
    """See `sluice.seams.stock_projection.StockProjection`."""

    def __init__(self, file: SqliteFile, now_ms: Callable[[], int]) -> None:
        self._calls = SqliteCalls(file)
        self._now_ms = now_ms

    @classmethod
    async def open(cls, file: SqliteFile, now_ms: Callable[[], int]) -> Self:
        """Makes the tables if they are not there. The file stays the caller's. Raises StoreUnreachable, and
        LedgerMissing if the file is open for reading only and there are none.
        """
        projection = cls(file, now_ms)
        if not file.read_only:
            await projection._calls.write(_make_tables)
        elif not await projection._calls.read(_has_tables):
            raise LedgerMissing(f"{file.path} has no projection")
        return projection

    async def control(self) -> Control:
        return await self._calls.read(_control)

    async def replace_control(self, before: Control, after: Control) -> bool:
        def replace(connection: sqlite3.Connection) -> bool:
            if _control(connection) != before:
                return False
            connection.execute(
                "INSERT OR REPLACE INTO projection_control VALUES ('stock', ?, ?, ?, ?)",
                (
                    after.version,
                    after.live.bytes,
                    after.rebuilding.bytes if after.rebuilding else None,
                    after.handing_over,
                ),
            )
            return True

        return await self._calls.write(replace)

    async def states(self, generation: UUID, skus: Sequence[str]) -> Mapping[tuple[str, UUID], SkuState]:
        def read(connection: sqlite3.Connection) -> list[SkuState]:
            return _states(connection.execute(_STATES, (generation.bytes, json.dumps(list(skus)))))

        return {(state.sku, state.journal): state for state in await self._calls.read(read)}

    async def write(self, generation: UUID, states: Sequence[SkuState], changes: Sequence[SkuChanges]) -> None:
        oldest_ms = self._now_ms() - HISTORY_KEPT_S * 1000
        rows = [
            (generation.bytes, each.sku, each.journal.bytes, *each[2:])
            for of_sku in changes
            for each in of_sku.one_by_one()
            if each.time_ms >= oldest_ms
        ]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO stock_update VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute(_EXPIRE, (oldest_ms, EXPIRED_PER_WRITE))
            connection.executemany(
                _KEEP_STATE, [(generation.bytes, sku, journal.bytes, *rest) for sku, journal, *rest in states]
            )

        await self._calls.write(write)

    async def recent(self, generation: UUID, sku: str, limit: int) -> Sequence[StockChange]:
        def read(connection: sqlite3.Connection) -> list[StockChange]:
            found = connection.execute(_RECENT, (generation.bytes, sku, limit))
            return [StockChange(each, UUID(bytes=journal), *rest) for each, journal, *rest in found]

        return await self._calls.read(read)

    async def scan(self, generation: UUID) -> AsyncIterator[Sequence[SkuState]]:
        sku, journal = "", b""

        def read(connection: sqlite3.Connection) -> list[SkuState]:
            return _states(connection.execute(_PAGE, (generation.bytes, sku, journal, SCANNED_PER_PAGE)))

        while page := await self._calls.read(read):
            yield page
            sku, journal = page[-1].sku, page[-1].journal.bytes

    async def drop(self, generation: UUID) -> None:
        query = "DELETE FROM stock_state WHERE generation = ?"
        await self._calls.write(lambda connection: connection.execute(query, (generation.bytes,)).close())

    async def generations(self) -> frozenset[UUID]:
        query = "SELECT DISTINCT generation FROM stock_state"
        found = await self._calls.read(lambda connection: connection.execute(query).fetchall())
        return frozenset(UUID(bytes=generation) for (generation,) in found)

    async def close(self) -> None:
        """Does nothing: the file belongs to whoever opened it."""


def _control(connection: sqlite3.Connection) -> Control:
    query = "SELECT version, live, rebuilding, handing_over FROM projection_control WHERE name = 'stock'"
    found = connection.execute(query).fetchone()
    if found is None:
        return UNTOUCHED
    version, live, rebuilding, handing_over = found
    return Control(version, UUID(bytes=live), UUID(bytes=rebuilding) if rebuilding else None, bool(handing_over))


def _states(rows: sqlite3.Cursor) -> list[SkuState]:
    return [SkuState(sku, UUID(bytes=journal), *rest) for sku, journal, *rest in rows]


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'projection_control'").fetchone() is not None


def _make_tables(connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.execute(table)
