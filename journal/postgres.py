"""The journal in PostgreSQL. One batch is one call of one SQL function: one round trip, one transaction."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID

import asyncpg

from journal.connections import Connection, Connections, Work, close, connect, run_on
from journal.limits import orders_beyond
from journal.migration import migrate_postgres, migrations
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
    Spend,
    TransitionBatch,
    TransitionResult,
)
from journal.slot_map_rows import IN_FORCE, VERSION, read_slot_map
from sluice.model import Order, OrderState
from sluice.slot_map import SlotMap

T = TypeVar("T")
BatchT = TypeVar("BatchT", Batch, TransitionBatch)
ResultT = TypeVar("ResultT")

READ_CONNECTIONS = 2
"""Beside those that commit, so that a listing never delays a commit. Two: one slow query leaves one for the others."""

MIGRATION_TIMEOUT_S = 60.0
"""A first start makes tables, and may wait for another process that is making them."""

AUDIT_TIMEOUT_S = 300.0
"""For one answer when everything is read: nobody's order waits for it, and sums over all rows take their time."""

SCAN_PAGE = 2_000
"""Orders per page of a scan: about 1 MB in memory."""

SCAN_OUTBOX_PAGE = 50
"""Outbox rows per page of a scan: a row holds up to about 1 MB."""

NUMBER_AT_ONCE = 10_000
ROLL_UP_AT_ONCE = 10_000
"""Rows in one transaction, so that a long backlog cannot make one that never ends within the time limit."""

_FENCED = "SL001"
_ORDERS_EXIST = "SL002"
_RESERVATIONS_CLOSED = "SL003"
_ORDERS_MOVED = "SL004"
_LIMITS_REACHED = "SL005"

_COMMIT = "SELECT commit_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
_TRANSITION = "SELECT transition_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"

ORDER_COLUMNS = "order_id::text, customer_id, lines, state, create_time, update_time, version, hold_end, reason"

_OUTBOX_LOCK = "hashtextextended('sluice outbox lease', 0)"
_HOLDS_LOCK = "hashtextextended('sluice holds lease', 0)"


class PostgresJournal:
    """See `journal.protocol.Journal`."""

    def __init__(self, url: str, journal_id: UUID, connections: int, timeout_s: float) -> None:
        self._url = url
        self._journal_id = journal_id
        self._timeout_s = timeout_s
        self._committing = Connections(url, connections, timeout_s)
        self._reading = Connections(url, READ_CONNECTIONS, timeout_s)

    @classmethod
    async def open(cls, url: str, *, connections: int = 3, timeout_s: float = 1.5) -> Self:
        """Migrates the database if it is older than the code. `timeout_s` bounds every later call.

        Raises JournalUnreachable, DatabaseTooNew, or asyncpg's own errors if the server refuses user or database.
        """
        connection = await connect(url, timeout_s, 0)
        try:
            await run_on(connection, lambda c: migrate_postgres(c, migrations("postgres")), MIGRATION_TIMEOUT_S)
            journal_id = await run_on(
                connection, lambda c: c.fetchval("SELECT journal_id FROM journal_identity"), timeout_s
            )
        finally:
            await close(connection, timeout_s)
        return cls(url, journal_id, connections, timeout_s)

    @property
    def journal_id(self) -> UUID:
        return self._journal_id

    async def commit(self, batch: Batch) -> CommitResult:
        arguments = _commit_arguments(batch)

        async def work(connection: Connection) -> CommitResult:
            return await _all_or_nothing(connection, _COMMIT, arguments, _COMMIT_REFUSALS, batch)

        return await self._committing.run(work)

    async def transition(self, batch: TransitionBatch) -> TransitionResult:
        arguments = _transition_arguments(batch)

        async def work(connection: Connection) -> TransitionResult:
            return await _all_or_nothing(connection, _TRANSITION, arguments, _TRANSITION_REFUSALS, batch)

        return await self._committing.run(work)

    async def set_limit(self, sku: str, units: int | None) -> None:
        if units is None:
            await self._reading.run(lambda c: c.execute("DELETE FROM sku_limits WHERE sku = $1", sku))
        else:
            await self._reading.run(lambda c: c.execute(_SET_LIMIT, sku, units))

    async def limits(self, skus: Sequence[str]) -> Mapping[str, int]:
        return _sums(await self._reading.run(lambda c: c.fetch(_LIMITS, list(skus))))

    async def counted_units(self, customer_id: str, skus: Sequence[str]) -> Mapping[str, int]:
        query = "SELECT sku, units FROM customer_units WHERE customer_id = $1 AND sku = ANY ($2)"
        return _sums(await self._reading.run(lambda c: c.fetch(query, customer_id, list(skus))))

    async def register(self, name: str, incarnation: UUID, now: datetime) -> Sequence[UUID]:
        try:
            rows = await self._reading.run(
                lambda c: c.fetch("SELECT register_incarnation($1, $2, $3)", name, incarnation, now)
            )
        except asyncpg.PostgresError as error:
            if error.sqlstate == _FENCED:
                raise IncarnationFenced(incarnation) from None
            raise
        return [row[0] for row in rows]

    async def beat(self, incarnation: UUID) -> None:
        query = "UPDATE heartbeats SET last_beat = clock_timestamp() WHERE incarnation = $1 RETURNING 1"
        if await self._reading.run(lambda c: c.fetchval(query, incarnation)) is None:
            raise IncarnationFenced(incarnation)

    async def silent(self, limit_s: float) -> Sequence[IncarnationRow]:
        rows = await self._reading.run(lambda c: c.fetch(_SILENT, limit_s))
        return [IncarnationRow(*row) for row in rows]

    async def fence(self, incarnation: UUID) -> bool:
        newly: bool = await self._reading.run(lambda c: c.fetchval("SELECT fence_incarnation($1)", incarnation))
        return newly

    async def claim_reclaim(self, claim_s: float) -> UUID | None:
        claimed: UUID | None = await self._reading.run(lambda c: c.fetchval(_CLAIM_RECLAIM, claim_s))
        return claimed

    async def reclaimed(self, incarnation: UUID) -> None:
        await self._reading.run(lambda c: c.execute(_RECLAIMED, incarnation, RECLAIM_AGAIN_S, RECLAIM_FOR_S))

    async def incarnations(self) -> Sequence[IncarnationRow]:
        rows = await self._reading.run(
            lambda c: c.fetch(
                "SELECT name, incarnation, start_time, fenced FROM incarnations ORDER BY start_time, name"
            )
        )
        return [IncarnationRow(*row) for row in rows]

    async def close_reservations(
        self, incarnation: UUID, seqs: Sequence[int], now: datetime
    ) -> Mapping[int, Mapping[str, int]]:
        rows = await self._committing.run(
            lambda c: c.fetch("SELECT * FROM close_reservations($1, $2, $3)", incarnation, sorted(set(seqs)), now)
        )
        return {seq: dict(zip(skus, units, strict=True)) for seq, skus, units in rows}

    async def spent(self, incarnation: UUID) -> Mapping[str, int]:
        return _sums(await self._reading.run(lambda c: c.fetch(_SPENT, incarnation)))

    async def sold(self, skus: Sequence[str]) -> Mapping[str, int]:
        return _sums(await self._reading.run(lambda c: c.fetch(_SOLD, list(skus))))

    async def roll_up(self, incarnation: UUID) -> int:
        return await _repeat(
            lambda most: self._reading.run(lambda c: c.fetchval("SELECT roll_up_spends($1, $2)", incarnation, most)),
            ROLL_UP_AT_ONCE,
        )

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        return await self._reading.run(partial(_find_orders, order_ids=order_ids))

    async def find_newer(self, versions: Mapping[str, int]) -> Mapping[str, Order]:
        rows = await self._reading.run(lambda c: c.fetch(_NEWER, list(versions), list(versions.values())))
        return {order.order_id: order for order in map(read_order, rows)}

    async def list_orders(self, customer_id: str | None, before: str | None, limit: int) -> Sequence[Order]:
        conditions: list[str] = []
        arguments: list[Any] = [limit]
        if customer_id is not None:
            arguments.append(customer_id)
            conditions.append(f"customer_id = ${len(arguments)}")
        if before is not None:
            arguments.append(before)
            conditions.append(f"order_id < ${len(arguments)}")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT {ORDER_COLUMNS} FROM orders {where} ORDER BY order_id DESC LIMIT $1"  # noqa: S608 - constants
        return [read_order(row) for row in await self._reading.run(lambda c: c.fetch(query, *arguments))]

    async def backlog(self) -> Backlog:
        query = "SELECT count(*), coalesce(sum(event_count), 0), min(create_time) FROM outbox"
        rows = await self._reading.run(lambda c: c.fetch(query))
        return Backlog(*rows[0])

    @asynccontextmanager
    async def lease_outbox(self) -> AsyncIterator["PostgresOutboxLease | None"]:
        async with self._locked(_OUTBOX_LOCK) as connection:
            yield PostgresOutboxLease(connection, self._timeout_s) if connection else None

    @asynccontextmanager
    async def lease_holds(self) -> AsyncIterator[HoldsLease | None]:
        async with self._locked(_HOLDS_LOCK) as connection:
            yield PostgresHoldsLease(connection, self._timeout_s) if connection else None

    @asynccontextmanager
    async def _locked(self, lock: str) -> AsyncIterator[Connection | None]:
        """A session of its own that holds the advisory lock; None if another one does."""
        connection = await connect(self._url, self._timeout_s, self._timeout_s)
        try:
            held = await run_on(
                connection, lambda c: c.fetchval(f"SELECT pg_try_advisory_lock({lock})"), self._timeout_s
            )
            yield connection if held else None
        finally:
            await close(connection, self._timeout_s)  # the lock ends with its session

    async def scan_orders(self) -> AsyncIterator[Sequence[Order]]:
        query = f"SELECT {ORDER_COLUMNS} FROM orders ORDER BY order_id"  # noqa: S608 - a constant
        async for rows in self._scan(query, SCAN_PAGE):
            yield [read_order(row) for row in rows]

    async def scan_outbox(self) -> AsyncIterator[Sequence[OutboxRow]]:
        query = (
            "SELECT coalesce(number, 0), create_time, events, event_count FROM outbox ORDER BY number NULLS LAST, id"
        )
        async for rows in self._scan(query, SCAN_OUTBOX_PAGE):
            yield [OutboxRow(*row) for row in rows]

    async def _scan(self, query: str, page: int) -> AsyncIterator[Sequence[asyncpg.Record]]:
        """On a connection of its own: it may take long. One transaction, so it sees one moment."""
        connection = await connect(self._url, self._timeout_s, 0)
        try:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await run_on(connection, lambda _: transaction.start(), self._timeout_s)
            cursor = await run_on(connection, lambda c: c.cursor(query), AUDIT_TIMEOUT_S)
            while rows := await run_on(connection, lambda _: cursor.fetch(page), AUDIT_TIMEOUT_S):
                yield rows
        finally:
            await close(connection, self._timeout_s)

    async def all_spends(self) -> Mapping[UUID, Mapping[str, int]]:
        connection = await connect(self._url, self._timeout_s, 0)
        try:
            rows = await run_on(connection, lambda c: c.fetch(_ALL_SPENDS), AUDIT_TIMEOUT_S)
        finally:
            await close(connection, self._timeout_s)
        sums: dict[UUID, dict[str, int]] = {}
        for incarnation, sku, units in rows:
            sums.setdefault(incarnation, {})[sku] = units
        return sums

    async def ping(self) -> None:
        await self._reading.run(lambda c: c.execute("SELECT 1"))

    async def close(self) -> None:
        await self._committing.close()
        await self._reading.close()


class PostgresOutboxLease:
    """See `journal.protocol.OutboxLease`. Everything runs on the session that holds the lock: whoever lost the lock
    can do nothing here any more.
    """

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    async def number_new(self) -> int:
        return await _repeat(
            lambda most: self._run(lambda c: c.fetchval("SELECT number_outbox($1)", most)), NUMBER_AT_ONCE
        )

    async def map_version(self) -> int:
        return await self._run(lambda c: c.fetchval(VERSION))

    async def slot_maps(self) -> Mapping[str, SlotMap]:
        rows = await self._run(lambda c: c.fetch(IN_FORCE))
        return {slot_map.topic: slot_map for slot_map in map(read_slot_map, rows)}

    async def read(self, after: int, limit: int) -> Sequence[OutboxRow]:
        rows = await self._run(
            lambda c: c.fetch(
                "SELECT number, create_time, events, event_count FROM outbox"
                " WHERE number > $1 ORDER BY number LIMIT $2",
                after,
                limit,
            )
        )
        return [OutboxRow(*row) for row in rows]

    async def delete(self, numbers: Sequence[int]) -> None:
        await self._run(lambda c: c.execute("DELETE FROM outbox WHERE number = ANY ($1)", list(numbers)))

    async def _run(self, work: Work[T]) -> T:
        return await run_on(self._connection, work, self._timeout_s)


class PostgresHoldsLease:
    """See `journal.protocol.HoldsLease`."""

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s

    async def due_holds(self, limit: int) -> Sequence[Order]:
        rows = await run_on(self._connection, lambda c: c.fetch(_DUE_HOLDS, limit), self._timeout_s)
        return [read_order(row) for row in rows]


_SET_LIMIT = "INSERT INTO sku_limits VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET units = excluded.units"
_LIMITS = "SELECT sku, units FROM sku_limits WHERE sku = ANY ($1)"

# Of customers and SKUs at the same places of the two arrays.
_COUNTED = """
SELECT customer_id, sku, units FROM customer_units
JOIN unnest($1::text[], $2::text[]) AS asked (customer_id, sku) USING (customer_id, sku)
"""

_DUE_HOLDS = f"""
SELECT o.* FROM (SELECT h.order_id, h.hold_end FROM holds h
                 WHERE h.hold_end <= clock_timestamp() ORDER BY h.hold_end LIMIT $1) AS due
JOIN LATERAL (SELECT {ORDER_COLUMNS} FROM orders WHERE orders.order_id = due.order_id) AS o ON true
ORDER BY due.hold_end
"""  # noqa: S608 - constants

# LATERAL: one probe of the key for each order asked for, however large the planner believes the lists to be.
_NEWER = f"""
SELECT o.* FROM unnest($1::uuid[], $2::integer[]) AS known (order_id, version)
JOIN LATERAL (SELECT {ORDER_COLUMNS} FROM orders
              WHERE orders.order_id = known.order_id AND orders.version > known.version) AS o ON true
"""  # noqa: S608 - constants

_SILENT = """
SELECT i.name, i.incarnation, i.start_time, i.fenced
FROM heartbeats h JOIN incarnations i USING (incarnation)
WHERE NOT i.fenced AND h.last_beat < clock_timestamp() - make_interval(secs => $1)
ORDER BY h.last_beat
"""

_CLAIM_RECLAIM = """
UPDATE reclaims SET due = clock_timestamp() + make_interval(secs => $1)
WHERE incarnation = (
    SELECT incarnation FROM reclaims WHERE due <= clock_timestamp() ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING incarnation
"""

# Due again after as long as it has been fenced: that doubles the time from sweep to sweep.
_RECLAIMED = """
WITH swept AS (
    UPDATE reclaims SET due = clock_timestamp()
        + greatest(clock_timestamp() - fence_time, make_interval(secs => $2::float8))
    WHERE incarnation = $1 AND clock_timestamp() - fence_time < make_interval(secs => $3::float8)
    RETURNING incarnation
)
DELETE FROM reclaims WHERE incarnation = $1 AND NOT EXISTS (SELECT FROM swept)
"""

_SPENT = """
SELECT sku, sum(units)::bigint FROM (
    SELECT t.sku, t.units FROM spend_totals t WHERE t.incarnation = $1
    UNION ALL
    SELECT u.sku, u.units FROM spends s, unnest(s.skus, s.units) AS u (sku, units)
    WHERE s.incarnation = $1
      AND s.seq > coalesce((SELECT r.through FROM spend_roll_ups r WHERE r.incarnation = $1), 0)
) AS parts GROUP BY sku
"""

_SOLD = """
SELECT sku, sum(units)::bigint FROM (
    SELECT t.sku, t.units FROM spend_totals t WHERE t.sku = ANY ($1)
    UNION ALL
    SELECT u.sku, u.units
    FROM spend_roll_ups r
    JOIN spends s ON s.incarnation = r.incarnation AND s.seq > r.through,
    unnest(s.skus, s.units) AS u (sku, units)
    WHERE u.sku = ANY ($1)
) AS parts GROUP BY sku
"""

_ALL_SPENDS = """
SELECT s.incarnation, u.sku, sum(u.units)::bigint
FROM spends s, unnest(s.skus, s.units) AS u (sku, units)
GROUP BY s.incarnation, u.sku
"""


def _commit_arguments(batch: Batch) -> tuple[Any, ...]:
    """Rows sorted by key: transactions that meet wait for each other in one order, so they cannot deadlock."""
    orders = sorted(batch.orders)
    ids, customers, lines, holds = zip(*orders, strict=True) if orders else ((), (), (), ())
    any_held = any(hold is not None for hold in holds)
    return (
        batch.create_time,
        ids,
        customers,
        [encode_lines(of_order) for of_order in lines],
        OrderState.CREATED,
        [hold and batch.create_time + hold for hold in holds] if any_held else (),
        OrderState.HELD,
        *_spend_arguments(batch.spends),
        batch.event_count,
        batch.events,
    )


def _transition_arguments(batch: TransitionBatch) -> tuple[Any, ...]:
    transitions = batch.transitions
    return (
        batch.update_time,
        [transition.order.order_id for transition in transitions],
        [transition.order.version for transition in transitions],
        [transition.state for transition in transitions],
        [transition.reason for transition in transitions],
        [transition.order.order_id for transition in transitions if transition.order.state is OrderState.HELD],
        [transition.order.order_id for transition in transitions if transition.returns_units],
        *_spend_arguments(batch.spends),
        batch.event_count,
        batch.events,
    )


def _spend_arguments(unsorted: Sequence[Spend]) -> tuple[Any, ...]:
    spends = sorted(unsorted, key=_reservation)
    froms: list[int] = []
    tos: list[int] = []
    skus: list[str] = []
    units: list[int] = []
    for spend in spends:
        froms.append(len(skus) + 1)
        skus += spend.units.keys()
        units += spend.units.values()
        tos.append(len(skus))
    return (
        sorted({spend.incarnation for spend in spends}),
        [spend.incarnation for spend in spends],
        [spend.seq for spend in spends],
        froms,
        tos,
        skus,
        units,
    )


def _reservation(spend: Spend) -> ReservationKey:
    return spend.incarnation, spend.seq


async def _all_or_nothing(
    connection: Connection,
    statement: str,
    arguments: tuple[Any, ...],
    refusals: Mapping[str, Callable[[Connection, BatchT], Awaitable[ResultT | None]]],
    batch: BatchT,
) -> ResultT | Committed:
    """Calls one of the functions that write a batch, again if what stood in its way is gone when it is looked for."""
    while True:
        try:
            await connection.execute(statement, *arguments)
        except asyncpg.PostgresError as error:
            read_refusal = refusals.get(error.sqlstate or "")
            if read_refusal is None:
                raise
            if refusal := await read_refusal(connection, batch):
                return refusal
        else:
            return Committed()


async def _fenced(connection: Connection, batch: Batch | TransitionBatch) -> IncarnationsFenced | None:
    """None if they can commit now: one was registered since."""
    asked = {spend.incarnation for spend in batch.spends}
    rows = await connection.fetch(
        "SELECT incarnation FROM incarnations WHERE incarnation = ANY ($1) AND NOT fenced", list(asked)
    )
    fenced = frozenset(asked.difference(row[0] for row in rows))
    return IncarnationsFenced(fenced) if fenced else None


async def _existing(connection: Connection, batch: Batch) -> OrdersExist:
    orders = await _find_orders(connection, [order.order_id for order in batch.orders])
    if not orders:
        raise ValueError("the batch names an order id twice")
    return OrdersExist(orders)


async def _limited(connection: Connection, batch: Batch) -> LimitsReached | None:
    """None if all may have what they want now: somebody has cancelled."""
    skus = list({sku for order in batch.orders for sku, _ in order.lines})
    limits = _sums(await connection.fetch(_LIMITS, skus))
    asked = [(order.customer_id, sku) for order in batch.orders for sku, _ in order.lines if sku in limits]
    customers, of_skus = zip(*asked, strict=True) if asked else ((), ())
    rows = await connection.fetch(_COUNTED, customers, of_skus)
    reached = orders_beyond(limits, {(customer_id, sku): units for customer_id, sku, units in rows}, batch.orders)
    return LimitsReached(reached) if reached else None


async def _moved(connection: Connection, batch: TransitionBatch) -> OrdersMoved:
    versions = {transition.order.order_id: transition.order.version for transition in batch.transitions}
    found = await _find_orders(connection, list(versions))
    moved = {
        order_id: found.get(order_id)
        for order_id, version in versions.items()
        if order_id not in found or found[order_id].version != version
    }
    if not moved:
        raise ValueError("the batch names an order twice")
    return OrdersMoved(moved)


async def _closed(connection: Connection, batch: Batch | TransitionBatch) -> ReservationsClosed:
    rows = await connection.fetch(
        "SELECT s.incarnation, s.seq, s.skus, s.units FROM spends s"
        " JOIN unnest($1::uuid[], $2::bigint[]) AS asked (incarnation, seq) USING (incarnation, seq)",
        [spend.incarnation for spend in batch.spends],
        [spend.seq for spend in batch.spends],
    )
    if not rows:
        raise ValueError("the batch names a reservation twice")
    return ReservationsClosed({(row[0], row[1]): dict(zip(row[2], row[3], strict=True)) for row in rows})


# What stands in the way of a batch, by the SQLSTATE with which the function took everything back.
_COMMIT_REFUSALS: Mapping[str, Callable[[Connection, Batch], Awaitable[CommitResult | None]]] = {
    _FENCED: _fenced,
    _ORDERS_EXIST: _existing,
    _LIMITS_REACHED: _limited,
    _RESERVATIONS_CLOSED: _closed,
}
_TRANSITION_REFUSALS: Mapping[str, Callable[[Connection, TransitionBatch], Awaitable[TransitionResult | None]]] = {
    _FENCED: _fenced,
    _ORDERS_MOVED: _moved,
    _RESERVATIONS_CLOSED: _closed,
}


async def _find_orders(connection: Connection, order_ids: Sequence[str]) -> Mapping[str, Order]:
    query = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ANY ($1)"  # noqa: S608 - a constant
    orders = [read_order(row) for row in await connection.fetch(query, order_ids)]
    return {order.order_id: order for order in orders}


def read_order(row: Iterable[Any]) -> Order:
    """Of the columns ORDER_COLUMNS."""
    order_id, customer_id, lines, state, *rest = row
    return Order(order_id, customer_id, decode_lines(lines), OrderState(state), *rest)


def _sums(rows: Sequence[asyncpg.Record]) -> Mapping[str, int]:
    return {row[0]: row[1] for row in rows}


async def _repeat(step: Callable[[int], Awaitable[int]], most: int) -> int:
    """Repeats a step that does at most `most` rows until it finds fewer; the sum of what it did."""
    total = 0
    while (done := await step(most)) == most:
        total += done
    return total + done
