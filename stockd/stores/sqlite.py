"""The ledger in the SQLite file of an embedded gateway, where it shares the writer and its fsync with the journal."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Self, TypeVar
from uuid import UUID

from sluice.model import StockPolicy
from sluice.seams.stock_store import (
    Applied,
    Cell,
    Consistency,
    Counts,
    Head,
    Ledger,
    NoSuchSku,
    Refused,
    Row,
    SkuPage,
    SkuSummary,
    WriteOutcome,
)
from sluice.sqlite_file import SqliteFile
from stockd.stores.sqlite_calls import SqliteCalls

T = TypeVar("T")

_RESTOCK = 0
_TAKEN = 1

_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS stock (
        sku TEXT NOT NULL PRIMARY KEY,
        policy INTEGER NOT NULL,
        available INTEGER NOT NULL CHECK (available >= 0),
        owners INTEGER NOT NULL DEFAULT 1
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS stock_units (
        sku TEXT NOT NULL REFERENCES stock,
        kind INTEGER NOT NULL,
        id BLOB NOT NULL,
        units INTEGER NOT NULL,
        version INTEGER NOT NULL,
        PRIMARY KEY (sku, kind, id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS stock_holders (
        incarnation BLOB NOT NULL,
        sku TEXT NOT NULL,
        PRIMARY KEY (incarnation, sku)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS stock_counted (
        sku TEXT NOT NULL,
        incarnation BLOB NOT NULL,
        number INTEGER NOT NULL,
        added INTEGER,
        closed INTEGER,
        PRIMARY KEY (sku, incarnation, number)
    ) STRICT, WITHOUT ROWID
    """,
)


SKUS_AT_ONCE = 512
"""What waits together shares a transaction and its sync."""


class SqliteStore:
    """See `sluice.seams.stock_store.StockStore`. Pages are in the order of the SKUs' bytes."""

    skus_at_once = SKUS_AT_ONCE

    def __init__(self, file: SqliteFile) -> None:
        self._calls = SqliteCalls(file)

    @classmethod
    async def open(cls, file: SqliteFile) -> Self:
        """Makes the tables if they are not there. The file stays the caller's. Raises StoreUnreachable."""
        store = cls(file)
        if not file.read_only:
            await store._calls.write(_make_tables)
        return store

    async def create_sku(self, sku: str, policy: StockPolicy) -> StockPolicy | None:
        def create(connection: sqlite3.Connection) -> StockPolicy | None:
            existing = connection.execute("SELECT policy FROM stock WHERE sku = ?", (sku,)).fetchone()
            if existing is not None:
                return StockPolicy(existing[0])
            connection.execute("INSERT INTO stock (sku, policy, available) VALUES (?, ?, 0)", (sku, policy))
            return None

        return await self._calls.write(create)

    async def spread(self, sku: str, owners: int) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            return connection.execute("UPDATE stock SET owners = ? WHERE sku = ?", (owners, sku)).rowcount == 1

        return await self._calls.write(write)

    async def restock(self, sku: str, restock_id: UUID, units: int) -> WriteOutcome:
        return await self._move(sku, _RESTOCK, restock_id, added=units, floor=0, before=None, units=units)

    async def withdraw(self, sku: str, withdrawal_id: UUID, units: int) -> WriteOutcome:
        return await self._move(sku, _RESTOCK, withdrawal_id, added=-units, floor=units, before=None, units=-units)

    async def take(self, sku: str, incarnation: UUID, before: Row | None, count: int) -> WriteOutcome:
        units = (before.units if before else 0) + count
        return await self._move(sku, _TAKEN, incarnation, added=-count, floor=count, before=before, units=units)

    async def fold(self, sku: str, incarnation: UUID, before: Row | None, sold: int) -> WriteOutcome:
        added = (before.units if before else 0) - sold
        return await self._move(sku, _TAKEN, incarnation, added=added, floor=0, before=before, units=sold)

    async def note_held(self, incarnation: UUID, skus: Sequence[str]) -> None:
        def note(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO stock_holders (incarnation, sku) VALUES (?, ?) ON CONFLICT DO NOTHING",
                [(incarnation.bytes, sku) for sku in skus],
            )

        await self._calls.write(note)

    async def skus_noted(self, incarnation: UUID) -> Sequence[str]:
        def read(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute("SELECT sku FROM stock_holders WHERE incarnation = ?", (incarnation.bytes,))
            return [sku for (sku,) in found]

        return await self._calls.read(read)

    async def rows(self, incarnation: UUID, skus: Sequence[str]) -> Mapping[str, Row]:
        def read(connection: sqlite3.Connection) -> dict[str, Row]:
            found = connection.execute(
                "SELECT sku, units, version FROM stock_units"
                " WHERE kind = ? AND id = ? AND sku IN (SELECT value FROM json_each(?))",
                (_TAKEN, incarnation.bytes, json.dumps(list(skus))),
            )
            return {sku: Row(units, version) for sku, units, version in found}

        return await self._calls.read(read)

    async def read(self, sku: str, consistency: Consistency) -> Ledger | None:
        del consistency  # there is one copy

        def read(connection: sqlite3.Connection) -> Ledger | None:
            head = _head(connection, sku)
            if head is None:
                return None
            rows = connection.execute(
                "SELECT kind, id, units, version FROM stock_units WHERE sku = ?", (sku,)
            ).fetchall()
            restocks = {UUID(bytes=row_id): units for kind, row_id, units, _ in rows if kind == _RESTOCK}
            held = {UUID(bytes=row_id): Row(units, version) for kind, row_id, units, version in rows if kind == _TAKEN}
            return Ledger(sku, head.policy, head.available, restocks, held, head.owners)

        return await self._calls.read(read)

    async def head(self, sku: str) -> Head | None:
        return await self._calls.read(lambda connection: _head(connection, sku))

    async def add_sold(self, sku: str, cell: Cell, units: int) -> None:
        def add(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO stock_counted (sku, incarnation, number, added) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET added = coalesce(added, 0) + excluded.added",
                (sku, cell.incarnation.bytes, cell.number, units),
            )

        await self._calls.write(add)

    async def close_cell(self, sku: str, cell: Cell, units: int) -> None:
        def close(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO stock_counted (sku, incarnation, number, closed) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET closed = excluded.closed",
                (sku, cell.incarnation.bytes, cell.number, units),
            )

        await self._calls.write(close)

    async def counts(self, sku: str, consistency: Consistency) -> Counts:
        del consistency

        def read(connection: sqlite3.Connection) -> Counts:
            rows = connection.execute(
                "SELECT incarnation, number, added, closed FROM stock_counted WHERE sku = ?", (sku,)
            )
            cells = [(Cell(UUID(bytes=by), number), added, closed) for by, number, added, closed in rows]
            return Counts(
                {cell: added for cell, added, _ in cells if added is not None},
                {cell: closed for cell, _, closed in cells if closed is not None},
            )

        return await self._calls.read(read)

    async def list_skus(self, after: str | None, limit: int) -> SkuPage:
        def read(connection: sqlite3.Connection) -> list[SkuSummary]:
            found = connection.execute(
                "SELECT sku, policy, available FROM stock WHERE sku > ? ORDER BY sku LIMIT ?",
                (after or "", limit + 1),  # no SKU is empty; one more tells whether a page follows
            )
            return [SkuSummary(sku, StockPolicy(policy), available) for sku, policy, available in found]

        skus = await self._calls.read(read)
        return SkuPage(skus[:limit], skus[limit - 1].sku if len(skus) > limit else None)

    async def careless_settings(self) -> Sequence[str]:
        return []  # the file's own settings are ours

    async def ping(self) -> None:
        await self._calls.write(_nothing)

    async def close(self) -> None:
        """Does nothing: the journal may still need the file, which belongs to whoever opened it."""

    async def _move(
        self, sku: str, kind: int, row_id: UUID, *, added: int, floor: int, before: Row | None, units: int
    ) -> WriteOutcome:
        def move(connection: sqlite3.Connection) -> WriteOutcome:
            found = connection.execute(
                "SELECT available, units, version FROM stock LEFT JOIN stock_units"
                " ON stock_units.sku = stock.sku AND kind = ? AND id = ? WHERE stock.sku = ?",
                (kind, row_id.bytes, sku),
            ).fetchone()
            if found is None:
                return NoSuchSku()
            available, *columns = found
            row = None if columns[0] is None else Row(*columns)
            if available < floor or row != before:
                return Refused(available, row)
            connection.execute("UPDATE stock SET available = available + ? WHERE sku = ?", (added, sku))
            connection.execute(
                "INSERT INTO stock_units (sku, kind, id, units, version) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET units = excluded.units, version = excluded.version",
                (sku, kind, row_id.bytes, units, (before.version if before else 0) + 1),
            )
            return Applied()

        return await self._calls.write(move)


def _head(connection: sqlite3.Connection, sku: str) -> Head | None:
    found = connection.execute("SELECT policy, available, owners FROM stock WHERE sku = ?", (sku,)).fetchone()
    return None if found is None else Head(StockPolicy(found[0]), found[1], found[2])


_COLUMNS = "sku, kind, id, units, version"


def _make_tables(connection: sqlite3.Connection) -> None:
    made = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'stock_units'").fetchone()
    # A file of the first release: since orders can be cancelled, units may come back to who never took any.
    rebuild = made is not None and "CHECK (units >= 0)" in made[0]
    if rebuild:
        connection.execute("ALTER TABLE stock_units RENAME TO stock_units_before")
    for table in _TABLES:
        connection.execute(table)
    if rebuild:
        connection.execute(f"INSERT INTO stock_units ({_COLUMNS}) SELECT {_COLUMNS} FROM stock_units_before")  # noqa: S608
        connection.execute("DROP TABLE stock_units_before")
    if "owners" not in {name for _, name, *_ in connection.execute("PRAGMA table_info(stock)")}:  # made before 0.2
        connection.execute("ALTER TABLE stock ADD COLUMN owners INTEGER NOT NULL DEFAULT 1")


def _nothing(connection: sqlite3.Connection) -> None:
    del connection
