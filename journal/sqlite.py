"""The journal in the SQLite file of a process that runs everything. Its outbox is the event log: rows are kept.

There is one writer, so a batch is numbered as it commits and nothing has to wait for anything else. Every list travels
as one JSON argument into one statement; `sluice.sqlite_file` says why.
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID

from journal.limits import orders_beyond
from journal.migration import migrate_sqlite, migrations
from journal.order_lines import decode_lines, encode_lines
from journal.protocol import (
    RECLAIM_AGAIN_S,
    RECLAIM_FOR_S,
    Backlog,
    Batch,
    CommitResult,
    Committed,
    HoldsLease,
    IncarnationFenced,
    IncarnationRow,
    IncarnationsFenced,
    LimitsReached,
    OrdersExist,
    OrdersMoved,
    OutboxRow,
    ReservationKey,
    ReservationsClosed,
    TransitionBatch,
    TransitionResult,
)
from journal.slot_map_rows import IN_FORCE, VERSION, read_slot_map
from sluice.errors import JournalUnreachable
from sluice.model import NewOrder, Order, OrderState
from sluice.slot_map import SlotMap
from sluice.sqlite_file import SqliteFile, SqliteUnavailable

T = TypeVar("T")

SCAN_PAGE = 2_000
"""Orders per page of a scan: about 1 MB in memory."""

SCAN_OUTBOX_PAGE = 50
"""Outbox rows per page of a scan: a row holds up to about 1 MB."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

ORDER_COLUMNS = "order_id, customer_id, lines, state, create_time, update_time, version, hold_end, reason"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


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
    def journal_id(self) -> UUID:
        return self._journal_id

    async def commit(self, batch: Batch) -> CommitResult:
        try:
            await self._write(partial(_commit, batch))
        except _Refused as refused:
            return await self._read(partial(refused.what_stands, batch))
        return Committed()

    async def transition(self, batch: TransitionBatch) -> TransitionResult:
        try:
            await self._write(partial(_transition, batch))
        except _Refused as refused:
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
        return await self._read(partial(_limits, skus))

    async def counted_units(self, customer_id: str, skus: Sequence[str]) -> Mapping[str, int]:
        counted = await self._read(partial(_counted, [(customer_id, sku) for sku in skus]))
        return {sku: units for (_, sku), units in counted.items()}

    async def register(self, name: str, incarnation: UUID, now: datetime) -> Sequence[UUID]:
        return await self._write(partial(_register, name, incarnation, _microseconds(now)))

    async def beat(self, incarnation: UUID) -> None:
        if not await self._write(lambda c: c.execute(_BEAT, (str(incarnation),)).rowcount):
            raise IncarnationFenced(incarnation)

    async def silent(self, limit_s: float) -> Sequence[IncarnationRow]:
        rows = await self._read(lambda c: c.execute(_SILENT, (round(limit_s * 1e6),)).fetchall())
        return [_incarnation(row) for row in rows]

    async def fence(self, incarnation: UUID) -> bool:
        return await self._write(partial(_fence, str(incarnation)))

    async def claim_reclaim(self, claim_s: float) -> UUID | None:
        return await self._write(partial(_claim_reclaim, round(claim_s * 1e6)))

    async def reclaimed(self, incarnation: UUID) -> None:
        await self._write(partial(_reclaimed, str(incarnation)))

    async def incarnations(self) -> Sequence[IncarnationRow]:
        query = "SELECT name, incarnation, start_time, fenced FROM incarnations ORDER BY start_time, name"
        rows = await self._read(lambda c: c.execute(query).fetchall())
        return [_incarnation(row) for row in rows]

    async def close_reservations(
        self, incarnation: UUID, seqs: Sequence[int], now: datetime
    ) -> Mapping[int, Mapping[str, int]]:
        return await self._write(partial(_close_reservations, incarnation, seqs, _microseconds(now)))

    async def spent(self, incarnation: UUID) -> Mapping[str, int]:
        return dict(await self._read(lambda c: c.execute(_SPENT, {"incarnation": str(incarnation)}).fetchall()))

    async def sold(self, skus: Sequence[str]) -> Mapping[str, int]:
        return dict(await self._read(lambda c: c.execute(_SOLD, {"skus": _encode(list(skus))}).fetchall()))

    async def roll_up(self, incarnation: UUID) -> int:
        return await self._write(partial(_roll_up, str(incarnation)))

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        return await self._read(partial(_find_orders, order_ids))

    async def find_newer(self, versions: Mapping[str, int]) -> Mapping[str, Order]:
        orders = await self._read(partial(_orders, _NEWER, (_encode(list(versions.items())),)))
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
        return await self._read(partial(_orders, query, (*arguments, limit)))

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

    async def slot_maps(self) -> Mapping[str, SlotMap]:
        rows = await self._read(lambda c: c.execute(IN_FORCE).fetchall())
        return {slot_map.topic: slot_map for slot_map in map(read_slot_map, rows)}

    async def delete_outbox(self, numbers: Sequence[int]) -> None:
        """Forgets rows. Their numbers are not used again."""
        query = "DELETE FROM outbox WHERE number IN (SELECT value FROM json_each(?))"
        await self._write(lambda c: c.execute(query, (_encode(list(numbers)),)).close())

    async def scan_orders(self) -> AsyncIterator[Sequence[Order]]:
        query = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id > ? ORDER BY order_id LIMIT ?"  # noqa: S608
        after = ""
        async with self._file.snapshot() as snapshot:
            while page := await reaching(snapshot.read(partial(_orders, query, (after, SCAN_PAGE)))):
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

    async def slot_maps(self) -> Mapping[str, SlotMap]:
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
        return await reaching(self._file.read(partial(_orders, _DUE_HOLDS, (limit,))))


class _Refused(Exception):
    """Raised inside a write: everything of it is taken back. `what_stands` reads afterwards what was in its way."""

    def __init__(self, what_stands: Callable[[Any, sqlite3.Connection], Any]) -> None:
        super().__init__()
        self.what_stands = what_stands


_NEWER = f"""
SELECT {ORDER_COLUMNS} FROM json_each(?) known JOIN orders ON order_id = known.value ->> 0
WHERE version > known.value ->> 1
"""  # noqa: S608 - constants

_INSERT_ORDERS = """
INSERT INTO orders (order_id, customer_id, lines, state, version, create_time, update_time)
SELECT value ->> 0, value ->> 1, value -> 2, :state, 1, :time, :time
FROM json_each(:orders) WHERE true
ON CONFLICT DO NOTHING
"""

# Of orders that have just been inserted.
_HOLD_ORDERS = """
UPDATE orders SET state = :state, hold_end = held.value ->> 1 FROM json_each(:holds) held
WHERE order_id = held.value ->> 0
"""
_INSERT_HOLDS = "INSERT INTO holds SELECT value ->> 0, value ->> 1 FROM json_each(:holds)"
_DELETE_HOLDS = "DELETE FROM holds WHERE order_id IN (SELECT value FROM json_each(?))"

# Lines are (order, SKU, customer, units).
_COUNT_LINES = """
INSERT INTO counted_lines SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:lines)
"""
_COUNT_CUSTOMERS = """
INSERT INTO customer_units (customer_id, sku, units)
SELECT value ->> 2, value ->> 1, sum(value ->> 3) FROM json_each(:lines) WHERE true GROUP BY 1, 2
ON CONFLICT DO UPDATE SET units = units + excluded.units
"""
_UNCOUNT_CUSTOMERS = """
UPDATE customer_units SET units = customer_units.units - ended.units
FROM (
    SELECT customer_id, sku, sum(units) AS units FROM counted_lines
    WHERE order_id IN (SELECT value FROM json_each(:ended)) GROUP BY customer_id, sku
) AS ended
WHERE customer_units.customer_id = ended.customer_id AND customer_units.sku = ended.sku
"""
_UNCOUNT_LINES = "DELETE FROM counted_lines WHERE order_id IN (SELECT value FROM json_each(:ended))"

_MOVE_ORDERS = """
UPDATE orders SET state = moved.value ->> 2, version = version + 1, update_time = :time, reason = moved.value ->> 3
FROM json_each(:moves) moved
WHERE order_id = moved.value ->> 0 AND version = moved.value ->> 1
"""

_INSERT_SPENDS = """
INSERT INTO spends (incarnation, seq, units, create_time)
SELECT value ->> 0, value ->> 1, value -> 2, :time
FROM json_each(:spends) WHERE true
ON CONFLICT DO NOTHING
"""

# Microseconds since 1970, as `now` in the database: one clock judges every beat.
CLOCK = "CAST(round((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)"

_DUE_HOLDS = f"""
SELECT {", ".join(f"orders.{column}" for column in ORDER_COLUMNS.split(", "))}
FROM holds JOIN orders USING (order_id)
WHERE holds.hold_end <= {CLOCK} ORDER BY holds.hold_end LIMIT ?
"""  # noqa: S608 - constants

_FIRST_BEAT = f"INSERT OR REPLACE INTO heartbeats VALUES (?, {CLOCK})"  # noqa: S608 - a constant
_BEAT = f"UPDATE heartbeats SET last_beat = {CLOCK} WHERE incarnation = ?"  # noqa: S608 - a constant

_SILENT = f"""
SELECT i.name, i.incarnation, i.start_time, i.fenced
FROM heartbeats h JOIN incarnations i USING (incarnation)
WHERE NOT i.fenced AND h.last_beat < {CLOCK} - ?
ORDER BY h.last_beat
"""  # noqa: S608 - a constant

# Fenced again it is swept again from the start: somebody knows of a late write.
_DUE_NOW = f"""
INSERT OR REPLACE INTO reclaims SELECT incarnation, {CLOCK}, {CLOCK} FROM incarnations WHERE incarnation = ?
"""  # noqa: S608 - a constant

_PREDECESSORS_DUE_NOW = f"""
UPDATE reclaims SET due = {CLOCK} WHERE incarnation IN (SELECT incarnation FROM incarnations WHERE name = ?)
"""  # noqa: S608 - a constant

_CLAIM_RECLAIM = f"""
UPDATE reclaims SET due = {CLOCK} + ?
WHERE incarnation = (SELECT incarnation FROM reclaims WHERE due <= {CLOCK} ORDER BY due LIMIT 1)
RETURNING incarnation
"""  # noqa: S608 - a constant

# Due again after as long as it has been fenced: that doubles the time from sweep to sweep.
_SWEPT = f"""
UPDATE reclaims SET due = {CLOCK} + max({CLOCK} - fence_time, :again)
WHERE incarnation = :incarnation AND {CLOCK} - fence_time < :until
"""  # noqa: S608 - a constant

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

# The last row before the first gap.
_ROLL_UP_UNTIL = """
SELECT max(seq) FROM (
    SELECT seq, row_number() OVER (ORDER BY seq) AS place FROM spends WHERE incarnation = :incarnation AND seq > :before
) WHERE seq = :before + place
"""

_ADD_TO_TOTALS = """
INSERT INTO spend_totals (incarnation, sku, units)
SELECT :incarnation, u.key, sum(u.value) FROM spends s, json_each(s.units) u
WHERE s.incarnation = :incarnation AND s.seq > :before AND s.seq <= :until
GROUP BY u.key
ON CONFLICT (incarnation, sku) DO UPDATE SET units = units + excluded.units
"""


def _commit(batch: Batch, connection: sqlite3.Connection) -> None:
    time = _microseconds(batch.create_time)
    fenced, any_limits = _look_around(batch, connection)
    if fenced:
        raise _Refused(lambda *_: fenced)
    if batch.orders:
        orders = {"orders": _order_rows(batch.orders), "state": OrderState.CREATED, "time": time}
        if connection.execute(_INSERT_ORDERS, orders).rowcount < len(batch.orders):
            raise _Refused(_existing)
        if holds := [(order[0], time + order.hold // _MICROSECOND) for order in batch.orders if order.hold]:
            held = {"holds": _encode(holds), "state": OrderState.HELD}
            connection.execute(_HOLD_ORDERS, held)
            connection.execute(_INSERT_HOLDS, held)
        if any_limits:
            _count_customer_units(batch.orders, connection)
    _insert_spends_and_events(batch, time, connection)


def _transition(batch: TransitionBatch, connection: sqlite3.Connection) -> None:
    time = _microseconds(batch.update_time)
    if batch.spends and (refusal := _fenced(batch, connection)):
        raise _Refused(lambda *_: refusal)
    moves = [(order.order_id, order.version, state, reason) for order, state, reason in batch.transitions]
    if connection.execute(_MOVE_ORDERS, {"moves": _encode(moves), "time": time}).rowcount < len(moves):
        raise _Refused(_moved)
    if left_holds := [order.order_id for order, *_ in batch.transitions if order.state is OrderState.HELD]:
        connection.execute(_DELETE_HOLDS, (_encode(left_holds),))
    if ended := [step.order.order_id for step in batch.transitions if step.returns_units]:
        connection.execute(_UNCOUNT_CUSTOMERS, {"ended": _encode(ended)})
        connection.execute(_UNCOUNT_LINES, {"ended": _encode(ended)})
    _insert_spends_and_events(batch, time, connection)


def _insert_spends_and_events(batch: Batch | TransitionBatch, time: int, connection: sqlite3.Connection) -> None:
    if batch.spends:
        rows = [(str(spend.incarnation), spend.seq, dict(spend.units)) for spend in batch.spends]
        if connection.execute(_INSERT_SPENDS, {"spends": _encode(rows), "time": time}).rowcount < len(rows):
            raise _Refused(_closed)
    if batch.event_count:
        connection.execute(
            "INSERT INTO outbox (create_time, event_count, events) VALUES (?, ?, ?)",
            (time, batch.event_count, batch.events),
        )


def _count_customer_units(orders: Sequence[NewOrder], connection: sqlite3.Connection) -> None:
    limits = _limits(list({sku for order in orders for sku, _ in order.lines}), connection)
    lines = [
        (order.order_id, sku, order.customer_id, quantity)
        for order in orders
        for sku, quantity in order.lines
        if sku in limits
    ]
    if not lines:
        return
    have = _counted([(customer_id, sku) for _, sku, customer_id, _ in lines], connection)
    if beyond := orders_beyond(limits, have, orders):
        raise _Refused(lambda *_: LimitsReached(beyond))
    counted = {"lines": _encode(lines)}
    connection.execute(_COUNT_LINES, counted)
    connection.execute(_COUNT_CUSTOMERS, counted)


def _limits(skus: Sequence[str], connection: sqlite3.Connection) -> dict[str, int]:
    query = "SELECT sku, units FROM sku_limits WHERE sku IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(query, (_encode(list(skus)),)).fetchall())


def _counted(asked: Sequence[tuple[str, str]], connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    rows = connection.execute(
        "SELECT customer_id, sku, units FROM customer_units"
        " WHERE (customer_id, sku) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
        (_encode(list(asked)),),
    )
    return {(customer_id, sku): units for customer_id, sku, units in rows}


def _order_rows(orders: Sequence[NewOrder]) -> str:
    """As JSON, sorted by id: neighbours in the tree are written together."""
    rows = (
        f'["{order_id}",{_encode(customer_id)},{encode_lines(lines)}]'
        for order_id, customer_id, lines, _ in sorted(orders)
    )
    return f"[{','.join(rows)}]"


def _fenced(batch: Batch | TransitionBatch, connection: sqlite3.Connection) -> IncarnationsFenced | None:
    return _look_around(batch, connection).fenced


class _Surroundings(NamedTuple):
    fenced: IncarnationsFenced | None
    any_limits: bool


def _look_around(batch: Batch | TransitionBatch, connection: sqlite3.Connection) -> _Surroundings:
    """What a batch needs to know first, in one statement: every one more delays all orders."""
    asked = {spend.incarnation for spend in batch.spends}
    rows = connection.execute(
        "SELECT NULL, EXISTS (SELECT 1 FROM sku_limits) UNION ALL"
        " SELECT incarnation, NULL FROM incarnations"
        " WHERE NOT fenced AND incarnation IN (SELECT value FROM json_each(?))",
        (_encode([str(incarnation) for incarnation in asked]),),
    ).fetchall()
    fenced = frozenset(asked.difference([UUID(row[0]) for row in rows[1:]]))
    return _Surroundings(IncarnationsFenced(fenced) if fenced else None, bool(rows[0][1]))


def _existing(batch: Batch, connection: sqlite3.Connection) -> OrdersExist:
    orders = _find_orders([order.order_id for order in batch.orders], connection)
    if not orders:
        raise ValueError("the batch names an order id twice")
    return OrdersExist(orders)


def _moved(batch: TransitionBatch, connection: sqlite3.Connection) -> OrdersMoved:
    versions = {order.order_id: order.version for order, *_ in batch.transitions}
    found = _find_orders(list(versions), connection)
    moved = {
        order_id: found.get(order_id)
        for order_id, version in versions.items()
        if order_id not in found or found[order_id].version != version
    }
    if not moved:
        raise ValueError("the batch names an order twice")
    return OrdersMoved(moved)


def _closed(batch: Batch | TransitionBatch, connection: sqlite3.Connection) -> ReservationsClosed:
    sold: dict[ReservationKey, Mapping[str, int]] = {}
    for spend in batch.spends:
        row = connection.execute(
            "SELECT units FROM spends WHERE incarnation = ? AND seq = ?", (str(spend.incarnation), spend.seq)
        ).fetchone()
        if row:
            sold[spend.incarnation, spend.seq] = json.loads(row[0])
    if not sold:
        raise ValueError("the batch names a reservation twice")
    return ReservationsClosed(sold)


def _register(name: str, incarnation: UUID, start_time: int, connection: sqlite3.Connection) -> Sequence[UUID]:
    row = connection.execute("SELECT fenced FROM incarnations WHERE incarnation = ?", (str(incarnation),)).fetchone()
    if row and row[0]:
        raise IncarnationFenced(incarnation)
    living = "SELECT incarnation FROM incarnations WHERE name = ? AND incarnation <> ? AND NOT fenced"
    for (predecessor,) in connection.execute(living, (name, str(incarnation))).fetchall():
        _fence(predecessor, connection)
    # Those that are still being swept are looked at now: one of them may have written until a moment ago.
    connection.execute(_PREDECESSORS_DUE_NOW, (name,))
    # The first beat, so that who dies at once is silent too.
    connection.execute(_FIRST_BEAT, (str(incarnation),))
    connection.execute(
        "INSERT INTO incarnations (incarnation, name, start_time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (str(incarnation), name, start_time),
    )
    connection.execute("INSERT INTO spend_roll_ups VALUES (?, 0) ON CONFLICT DO NOTHING", (str(incarnation),))
    rows = connection.execute(
        "SELECT incarnation FROM incarnations WHERE name = ? AND fenced ORDER BY start_time", (name,)
    )
    return [UUID(row[0]) for row in rows]


def _fence(incarnation: str, connection: sqlite3.Connection) -> bool:
    newly = connection.execute(
        "UPDATE incarnations SET fenced = 1 WHERE incarnation = ? AND NOT fenced", (incarnation,)
    ).rowcount
    connection.execute("DELETE FROM heartbeats WHERE incarnation = ?", (incarnation,))
    connection.execute(_DUE_NOW, (incarnation,))
    return newly > 0


def _claim_reclaim(claim: int, connection: sqlite3.Connection) -> UUID | None:
    row = connection.execute(_CLAIM_RECLAIM, (claim,)).fetchone()
    return UUID(row[0]) if row else None


def _reclaimed(incarnation: str, connection: sqlite3.Connection) -> None:
    times = {"again": round(RECLAIM_AGAIN_S * 1e6), "until": round(RECLAIM_FOR_S * 1e6)}
    if not connection.execute(_SWEPT, {"incarnation": incarnation} | times).rowcount:
        connection.execute("DELETE FROM reclaims WHERE incarnation = ?", (incarnation,))


def _close_reservations(
    incarnation: UUID, seqs: Sequence[int], time: int, connection: sqlite3.Connection
) -> Mapping[int, Mapping[str, int]]:
    arguments = {"incarnation": str(incarnation), "seqs": _encode(list(seqs)), "time": time}
    connection.execute(
        "INSERT INTO spends SELECT :incarnation, value, '{}', :time FROM json_each(:seqs) WHERE true"
        " ON CONFLICT DO NOTHING",
        arguments,
    )
    rows = connection.execute(
        "SELECT seq, units FROM spends"
        " WHERE incarnation = :incarnation AND seq IN (SELECT value FROM json_each(:seqs))",
        arguments,
    )
    return {seq: json.loads(units) for seq, units in rows}


def _roll_up(incarnation: str, connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT through FROM spend_roll_ups WHERE incarnation = ?", (incarnation,)).fetchone()
    if row is None:
        return 0
    before: int = row[0]
    until = connection.execute(_ROLL_UP_UNTIL, {"incarnation": incarnation, "before": before}).fetchone()[0]
    if until is None:
        return 0
    connection.execute(_ADD_TO_TOTALS, {"incarnation": incarnation, "before": before, "until": until})
    connection.execute("UPDATE spend_roll_ups SET through = ? WHERE incarnation = ?", (until, incarnation))
    return int(until) - before


def _find_orders(order_ids: Sequence[str], connection: sqlite3.Connection) -> Mapping[str, Order]:
    query = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id IN (SELECT value FROM json_each(?))"  # noqa: S608
    orders = _orders(query, (_encode(list(order_ids)),), connection)
    return {order.order_id: order for order in orders}


def _orders(query: str, arguments: tuple[Any, ...], connection: sqlite3.Connection) -> Sequence[Order]:
    return [read_order(row) for row in connection.execute(query, arguments)]


def _outbox_rows(after: int, limit: int, connection: sqlite3.Connection) -> Sequence[OutboxRow]:
    rows = connection.execute(
        "SELECT number, create_time, events, event_count FROM outbox WHERE number > ? ORDER BY number LIMIT ?",
        (after, limit),
    )
    return [OutboxRow(number, _time(time), events, event_count) for number, time, events, event_count in rows]


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


def read_order(row: tuple[Any, ...]) -> Order:
    """Of the columns ORDER_COLUMNS."""
    order_id, customer_id, lines, state, create_time, update_time, version, hold_end, reason = row
    return Order(
        order_id,
        customer_id,
        decode_lines(lines),
        OrderState(state),
        _time(create_time),
        _time(update_time),
        version,
        None if hold_end is None else _time(hold_end),
        reason,
    )


def _incarnation(row: tuple[Any, ...]) -> IncarnationRow:
    name, incarnation, start_time, fenced = row
    return IncarnationRow(name, UUID(incarnation), _time(start_time), bool(fenced))


def _microseconds(time: datetime) -> int:
    """Whole numbers all the way: a float of seconds has no room for them."""
    return (time - _EPOCH) // _MICROSECOND


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


async def reaching(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except SqliteUnavailable as error:
        raise JournalUnreachable(str(error), outcome_unknown=error.outcome_unknown) from error
