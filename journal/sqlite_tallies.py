"""The tallies in the SQLite file of a process that runs everything."""

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from journal.sqlite_rows import ORDER_COLUMNS, reaching, read_order
from journal.tallies import LiveTally, StockEvent, TalliedOrder, Victims
from sluice.model import HOLDS_UNITS
from sluice.sqlite_file import SqliteFile

_ORDER_BY = {
    Victims.NEWEST_FIRST: "t.number DESC, t.place DESC",
    Victims.SMALLEST_FIRST: "t.units, t.number DESC, t.place DESC",
    Victims.LOWEST_PRIORITY_FIRST: "priority, t.number DESC, t.place DESC",
}
_FROM_LIVE = "FROM tallied_orders t JOIN orders USING (order_id) WHERE t.sku = ? AND state IN ({})".format(
    ", ".join(str(state.value) for state in sorted(HOLDS_UNITS))
)


class SqliteTallies:
    """See `journal.tallies.Tallies`. The journal must have been opened before on the same file: it makes the tables."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._leased: set[str] = set()

    async def add(self, events: Sequence[StockEvent]) -> Mapping[str, int]:
        return await reaching(self._file.write(partial(_add, events)))

    async def live(self, sku: str, victims: Victims, limit: int) -> LiveTally:
        return await reaching(self._file.read(partial(_live, sku, victims, limit)))

    async def skus(self) -> Sequence[str]:
        query = "SELECT DISTINCT sku FROM tallies ORDER BY sku"
        return [row[0] for row in await reaching(self._file.read(lambda c: c.execute(query).fetchall()))]

    @asynccontextmanager
    async def lease(self, sku: str) -> AsyncIterator[bool]:
        """One process has the file, so the lease lives in this object."""
        if sku in self._leased:
            yield False
            return
        self._leased.add(sku)
        try:
            yield True
        finally:
            self._leased.discard(sku)


def _add(events: Sequence[StockEvent], connection: sqlite3.Connection) -> Mapping[str, int]:
    for sku, order_id, units, (journal, number, place) in events:
        # One writer: nobody comes between these statements.
        connection.execute(
            "INSERT INTO tallies VALUES (?, ?, 0, -1, 0) ON CONFLICT DO NOTHING", (sku, str(journal))
        ).close()
        moved = connection.execute(
            "UPDATE tallies SET units = units + ?, number = ?, place = ?"
            " WHERE sku = ? AND journal_id = ? AND (number, place) < (?, ?)",
            (units, number, place, sku, str(journal), number, place),
        ).rowcount
        if not moved:
            continue
        if units > 0:
            row = (sku, order_id, number, place, units)
            connection.execute("INSERT INTO tallied_orders VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row).close()
        else:
            connection.execute("DELETE FROM tallied_orders WHERE sku = ? AND order_id = ?", (sku, order_id)).close()
    skus = json.dumps(sorted({event.sku for event in events}))
    query = "SELECT sku, sum(units) FROM tallies WHERE sku IN (SELECT value FROM json_each(?)) GROUP BY sku"
    return dict(connection.execute(query, (skus,)).fetchall())


def _live(sku: str, victims: Victims, limit: int, connection: sqlite3.Connection) -> LiveTally:
    units = connection.execute(f"SELECT coalesce(sum(t.units), 0) {_FROM_LIVE}", (sku,)).fetchone()[0]
    query = f"SELECT t.units, {ORDER_COLUMNS} {_FROM_LIVE} ORDER BY {_ORDER_BY[victims]} LIMIT ?"
    rows = connection.execute(query, (sku, limit)).fetchall()
    return LiveTally(units, [TalliedOrder(read_order(row[1:]), row[0]) for row in rows])
