"""The journal in the SQLite file of a process that runs everything. Its outbox is the event log: rows are kept.

There is one writer, so a batch is numbered as it commits and nothing has to wait for anything else. Every list travels
as one JSON argument into one statement; `sluice.sqlite_file` says why.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID

from journal.migration import migrate_sqlite, migrations
from journal.protocol import (
    Backlog,
    Batch,
    CommitResult,
    Committed,
    HoldsLease,
    IncarnationFenced,
    IncarnationRow,
    OrdersExist,
    OutboxRow,
    RejectionBatch,
    TransitionBatch,
    TransitionResult,
)
from journal.slot_map_rows import EVER, VERSION, read_slot_map
from journal.sqlite_incarnations import (
    BEAT,
    SILENT,
    claim_reclaim,
    close_reservations,
    fence,
    mark_reclaimed,
    register,
    roll_up,
)
from journal.sqlite_rows import (
    CLOCK,
    ORDER_COLUMNS,
    encode_json,
    find_orders,
    microseconds,
    reaching,
    read_incarnation,
    read_orders,
    time_of,
)
from journal.sqlite_transactions import Refused, commit, counted_units, read_limits, reject, transition
from sluice.model import Order
from sluice.slot_map import SlotMap
from sluice.sqlite_file import SqliteFile

T = TypeVar("T")

SCAN_PAGE = 2_000
"""Orders per page of a scan: about 1 MB in memory."""

SCAN_OUTBOX_PAGE = 50
"""Outbox rows per page of a scan: a row holds up to about 1 MB."""


class SqliteJournal:
    """See `journal.protocol.Journal`. On a file that is open read-only everything that writes raises
    JournalUnreachable, and the lease is never free.
    """

    def __init__(self, file: SqliteFile, journal_id: UUID) -> None:
        self._file = file
        self._journal_id = journal_id
        self._leased = False
        self._holds_leased = False

    @classmethod
    async def open(cls, file: SqliteFile) -> Self:
        """On a file that others may share; it stays theirs to close. Migrates it if it is older than the code.

        Raises JournalUnreachable, DatabaseTooNew, and DatabaseTooOld if the file is open read-only.
        """
        await reaching(migrate_sqlite(file, migrations("sqlite")))
        row = await reaching(file.read(lambda c: c.execute("SELECT journal_id FROM journal_identity").fetchone()))
        return cls(file, UUID(row[0]))

    @property
    def shard(self) -> int:
        return 0

    @property
    def shards(self) -> Sequence[Self]:
        return (self,)

    @property
    def journal_id(self) -> UUID:
        return self._journal_id

    async def commit(self, batch: Batch) -> CommitResult:
        try:
            await self._write(partial(commit, batch))
        except Refused as refused:
            return await self._read(partial(refused.what_stands, batch))
        return Committed()

    async def reject(self, batch: RejectionBatch) -> Committed | OrdersExist:
        try:
            await self._write(partial(reject, batch))
        except Refused as refused:
            existing: OrdersExist = await self._read(partial(refused.what_stands, batch))
            return existing
        return Committed()

    async def transition(self, batch: TransitionBatch) -> TransitionResult:
        try:
            await self._write(partial(transition, batch))
        except Refused as refused:
            return await self._read(partial(refused.what_stands, batch))
        return Committed()

    async def set_limit(self, sku: str, units: int | None) -> None:
        if units is None:
            await self._write(lambda c: c.execute("DELETE FROM sku_limits WHERE sku = ?", (sku,)).close())
        else:
            await self._write(
                lambda c: c.execute("INSERT OR REPLACE INTO sku_limits VALUES (?, ?)", (sku, units)).close()
            )

    async def limits(self, skus: Sequence[str]) -> Mapping[str, int]:
        return await self._read(partial(read_limits, skus))

    async def counted_units(self, customer_id: str, skus: Sequence[str]) -> Mapping[str, int]:
        counted = await self._read(partial(counted_units, [(customer_id, sku) for sku in skus]))
        return {sku: units for (_, sku), units in counted.items()}

    async def register(self, name: str, incarnation: UUID, now: datetime) -> Sequence[UUID]:
        return await self._write(partial(register, name, incarnation, microseconds(now)))

    async def beat(self, incarnation: UUID) -> None:
        if not await self._write(lambda c: c.execute(BEAT, (str(incarnation),)).rowcount):
            raise IncarnationFenced(incarnation)

    async def silent(self, limit_s: float) -> Sequence[IncarnationRow]:
        rows = await self._read(lambda c: c.execute(SILENT, (round(limit_s * 1e6),)).fetchall())
        return [read_incarnation(row) for row in rows]

    async def fence(self, incarnation: UUID) -> bool:
        return await self._write(partial(fence, str(incarnation)))

    async def claim_reclaim(self, claim_s: float) -> UUID | None:
        return await self._write(partial(claim_reclaim, round(claim_s * 1e6)))

    async def reclaimed(self, incarnation: UUID) -> None:
        await self._write(partial(mark_reclaimed, str(incarnation)))

    async def incarnations(self) -> Sequence[IncarnationRow]:
        query = "SELECT name, incarnation, start_time, fenced FROM incarnations ORDER BY start_time, name"
        rows = await self._read(lambda c: c.execute(query).fetchall())
        return [read_incarnation(row) for row in rows]

    async def close_reservations(
        self, incarnation: UUID, seqs: Sequence[int], now: datetime
    ) -> Mapping[int, Mapping[str, int]]:
        return await self._write(partial(close_reservations, incarnation, seqs, microseconds(now)))

    async def spent(self, incarnation: UUID) -> Mapping[str, int]:
        return dict(await self._read(lambda c: c.execute(_SPENT, {"incarnation": str(incarnation)}).fetchall()))

    async def sold(self, skus: Sequence[str]) -> Mapping[str, int]:
        return dict(await self._read(lambda c: c.execute(_SOLD, {"skus": encode_json(list(skus))}).fetchall()))

    async def roll_up(self, incarnation: UUID) -> int:
        return await self._write(partial(roll_up, str(incarnation)))

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        return await self._read(partial(find_orders, order_ids))

    async def find_newer(self, versions: Mapping[str, int]) -> Mapping[str, Order]:
        orders = await self._read(partial(read_orders, _NEWER, (encode_json(list(versions.items())),)))
        return {order.order_id: order for order in orders}

    async def list_orders(self, customer_id: str | None, before: str | None, limit: int) -> Sequence[Order]:
        conditions: list[str] = []
        arguments: list[Any] = []
        if customer_id is not None:
            conditions.append("customer_id = ?")
            arguments.append(customer_id)
        if before is not None:
            conditions.append("order_id < ?")
            arguments.append(before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT {ORDER_COLUMNS} FROM orders {where} ORDER BY order_id DESC LIMIT ?"  # noqa: S608 - constants
        return await self._read(partial(read_orders, query, (*arguments, limit)))

    async def backlog(self) -> Backlog:
        """Nothing ever waits: a committed row is on the log, because the outbox is the log."""
        await self.ping()
        return Backlog(0, 0, None)

    @asynccontextmanager
    async def lease_outbox(self) -> AsyncIterator["SqliteOutboxLease | None"]:
        """One process has the file, so the lease lives in this object."""
        if self._leased or self._file.read_only:
            yield None
            return
        self._leased = True
        try:
            yield SqliteOutboxLease(self)
        finally:
            self._leased = False

    @asynccontextmanager
    async def lease_holds(self) -> AsyncIterator[HoldsLease | None]:
        """As `lease_outbox`."""
        if self._holds_leased or self._file.read_only:
            yield None
            return
        self._holds_leased = True
        try:
            yield SqliteHoldsLease(self._file)
        finally:
            self._holds_leased = False

    async def read_outbox(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """Rows with a number above `after`, by number: the event log, for anyone."""
        return await self._read(partial(_outbox_rows, after, limit))

    async def lend_outbox(self) -> int:
        """Lets the lease's holder see the rows of this moment, unless that is paused. The numbers it gains."""
        return await self._write(_lend_outbox)

    async def read_lent(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """As `read_outbox`, of the rows that the lease's holder may see."""
        return await self._read(partial(_lent_rows, after, limit))

    async def map_version(self) -> int:
        version: int = await self._read(lambda c: c.execute(VERSION).fetchone()[0])
        return version

    async def slot_maps(self) -> Sequence[SlotMap]:
        return [read_slot_map(row) for row in await self._read(lambda c: c.execute(EVER).fetchall())]

    async def delete_outbox(self, numbers: Sequence[int]) -> None:
        """Forgets rows. Their numbers are not used again."""
        query = "DELETE FROM outbox WHERE number IN (SELECT value FROM json_each(?))"
        await self._write(lambda c: c.execute(query, (encode_json(list(numbers)),)).close())

    async def scan_orders(self) -> AsyncIterator[Sequence[Order]]:
        query = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id > ? ORDER BY order_id LIMIT ?"  # noqa: S608
        after = ""
        async with self._file.snapshot() as snapshot:
            while page := await reaching(snapshot.read(partial(read_orders, query, (after, SCAN_PAGE)))):
                yield page
                after = page[-1].order_id

    async def scan_outbox(self) -> AsyncIterator[Sequence[OutboxRow]]:
        after = 0
        async with self._file.snapshot() as snapshot:
            while page := await reaching(snapshot.read(partial(_outbox_rows, after, SCAN_OUTBOX_PAGE))):
                yield page
                after = page[-1].number

    async def all_spends(self) -> Mapping[UUID, Mapping[str, int]]:
        async with self._file.snapshot() as snapshot:
            rows = await reaching(snapshot.read(lambda c: c.execute(_ALL_SPENDS).fetchall()))
        sums: dict[UUID, dict[str, int]] = {}
        for incarnation, sku, units in rows:
            sums.setdefault(UUID(incarnation), {})[sku] = units
        return sums

    async def ping(self) -> None:
        await self._read(lambda c: c.execute("SELECT 1").fetchone())

    async def close(self) -> None:
        """The file belongs to whoever opened it."""

    async def _write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await reaching(self._file.write(function))

    async def _read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await reaching(self._file.read(function))


class SqliteOutboxLease:
    """See `journal.protocol.OutboxLease`."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal

    async def number_new(self) -> int:
        """Rows have their number from the start; they are seen here from now on."""
        return await self._journal.lend_outbox()

    async def map_version(self) -> int:
        return await self._journal.map_version()

    async def slot_maps(self) -> Sequence[SlotMap]:
        return await self._journal.slot_maps()

    async def read(self, after: int, limit: int) -> Sequence[OutboxRow]:
        return await self._journal.read_lent(after, limit)

    async def delete(self, numbers: Sequence[int]) -> None:
        await self._journal.delete_outbox(numbers)


class SqliteHoldsLease:
    """See `journal.protocol.HoldsLease`."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def due_holds(self, limit: int) -> Sequence[Order]:
        return await reaching(self._file.read(partial(read_orders, _DUE_HOLDS, (limit,))))


_NEWER = f"""
SELECT {ORDER_COLUMNS} FROM json_each(?) known JOIN orders ON order_id = known.value ->> 0
WHERE version > known.value ->> 1
"""  # noqa: S608 - constants


_DUE_HOLDS = f"""
SELECT {", ".join(f"orders.{column}" for column in ORDER_COLUMNS.split(", "))}
FROM holds JOIN orders USING (order_id)
WHERE holds.hold_end <= {CLOCK} ORDER BY holds.hold_end LIMIT ?
"""  # noqa: S608 - constants


_SPENT = """
SELECT sku, sum(units) FROM (
    SELECT sku, units FROM spend_totals WHERE incarnation = :incarnation
    UNION ALL
    SELECT u.key, u.value FROM spends s, json_each(s.units) u
    WHERE s.incarnation = :incarnation
      AND s.seq > coalesce((SELECT through FROM spend_roll_ups WHERE incarnation = :incarnation), 0)
) GROUP BY sku
"""

_SOLD = """
SELECT sku, sum(units) FROM (
    SELECT sku, units FROM spend_totals WHERE sku IN (SELECT value FROM json_each(:skus))
    UNION ALL
    SELECT u.key, u.value
    FROM spend_roll_ups r
    CROSS JOIN spends s ON s.incarnation = r.incarnation AND s.seq > r.through
    CROSS JOIN json_each(s.units) u
    WHERE u.key IN (SELECT value FROM json_each(:skus))
) GROUP BY sku
"""

_ALL_SPENDS = """
SELECT s.incarnation, u.key, sum(u.value) FROM spends s, json_each(s.units) u GROUP BY s.incarnation, u.key
"""


def _outbox_rows(after: int, limit: int, connection: sqlite3.Connection) -> Sequence[OutboxRow]:
    rows = connection.execute(
        "SELECT number, create_time, events, event_count FROM outbox WHERE number > ? ORDER BY number LIMIT ?",
        (after, limit),
    )
    return [OutboxRow(number, time_of(time), events, event_count) for number, time, events, event_count in rows]


def _lend_outbox(connection: sqlite3.Connection) -> int:
    before, paused = connection.execute(f"SELECT through, paused_until > {CLOCK} FROM outbox_lent").fetchone()  # noqa: S608
    through = connection.execute("SELECT coalesce(max(number), 0) FROM outbox").fetchone()[0]
    if paused or through <= before:
        return 0
    connection.execute("UPDATE outbox_lent SET through = ?", (through,)).close()
    gained: int = through - before
    return gained


def _lent_rows(after: int, limit: int, connection: sqlite3.Connection) -> Sequence[OutboxRow]:
    through = connection.execute("SELECT through FROM outbox_lent").fetchone()[0]
    return [row for row in _outbox_rows(after, limit, connection) if row.number <= through]
