"""The journal in PostgreSQL. One batch is one call of one SQL function: one round trip, one transaction."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID

import asyncpg

from journal.connections import Connection, Connections, Work, close, connect, run_on
from journal.migration import migrate_postgres, migrations
from journal.postgres_place import ONLY_ONE, ShardPlace, check_place
from journal.postgres_rows import ORDER_COLUMNS, find_orders, read_order, read_sums
from journal.postgres_transactions import FENCED, LIMITS, commit, reject, transition
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
    OrdersExist,
    OutboxRow,
    RejectionBatch,
    TransitionBatch,
    TransitionResult,
)
from journal.slot_map_rows import EVER, VERSION, read_slot_map
from sluice.model import Order
from sluice.slot_map import SlotMap

T = TypeVar("T")

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


_OUTBOX_LOCK = "hashtextextended('sluice outbox lease', 0)"
_HOLDS_LOCK = "hashtextextended('sluice holds lease', 0)"


class PostgresJournal:
    """See `journal.protocol.Journal`."""

    def __init__(self, url: str, journal_id: UUID, connections: int, timeout_s: float, shard: int = 0) -> None:
        self._url = url
        self._shard = shard
        self._journal_id = journal_id
        self._timeout_s = timeout_s
        self._committing = Connections(url, connections, timeout_s)
        self._reading = Connections(url, READ_CONNECTIONS, timeout_s)

    @classmethod
    async def open(
        cls, url: str, *, connections: int = 3, timeout_s: float = 1.5, place: ShardPlace = ONLY_ONE
    ) -> Self:
        """Migrates the database if it is older than the code. `timeout_s` bounds every later call. All journals of a
        cluster are opened by `journal.postgres_shards`.

        Raises JournalUnreachable, DatabaseTooNew, WrongPlace, or asyncpg's own errors if the server refuses user or
        database.
        """
        connection = await connect(url, timeout_s, 0)
        try:
            await run_on(connection, lambda c: migrate_postgres(c, migrations("postgres")), MIGRATION_TIMEOUT_S)
            journal_id = await run_on(
                connection, lambda c: c.fetchval("SELECT journal_id FROM journal_identity"), timeout_s
            )
            await run_on(connection, partial(check_place, place), timeout_s)
        finally:
            await close(connection, timeout_s)
        return cls(url, journal_id, connections, timeout_s, place.number)

    @property
    def shard(self) -> int:
        return self._shard

    @property
    def shards(self) -> Sequence[Self]:
        return (self,)

    @property
    def journal_id(self) -> UUID:
        return self._journal_id

    async def commit(self, batch: Batch) -> CommitResult:
        return await self._committing.run(partial(commit, batch))

    async def reject(self, batch: RejectionBatch) -> Committed | OrdersExist:
        return await self._committing.run(partial(reject, batch))

    async def transition(self, batch: TransitionBatch) -> TransitionResult:
        return await self._committing.run(partial(transition, batch))

    async def set_limit(self, sku: str, units: int | None) -> None:
        if units is None:
            await self._reading.run(lambda c: c.execute("DELETE FROM sku_limits WHERE sku = $1", sku))
        else:
            await self._reading.run(lambda c: c.execute(_SET_LIMIT, sku, units))

    async def limits(self, skus: Sequence[str]) -> Mapping[str, int]:
        return read_sums(await self._reading.run(lambda c: c.fetch(LIMITS, list(skus))))

    async def counted_units(self, customer_id: str, skus: Sequence[str]) -> Mapping[str, int]:
        query = "SELECT sku, units FROM customer_units WHERE customer_id = $1 AND sku = ANY ($2)"
        return read_sums(await self._reading.run(lambda c: c.fetch(query, customer_id, list(skus))))

    async def register(self, name: str, incarnation: UUID, now: datetime) -> Sequence[UUID]:
        try:
            rows = await self._reading.run(
                lambda c: c.fetch("SELECT register_incarnation($1, $2, $3)", name, incarnation, now)
            )
        except asyncpg.PostgresError as error:
            if error.sqlstate == FENCED:
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

    async def fence_besides(self, row: IncarnationRow) -> None:
        """See `journal.all_journals.Shard`."""
        query = "SELECT fence_besides($1, $2, $3)"
        await self._reading.run(lambda c: c.execute(query, row.incarnation, row.name, row.start_time))

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
        return read_sums(await self._reading.run(lambda c: c.fetch(_SPENT, incarnation)))

    async def sold(self, skus: Sequence[str]) -> Mapping[str, int]:
        return read_sums(await self._reading.run(lambda c: c.fetch(_SOLD, list(skus))))

    async def roll_up(self, incarnation: UUID) -> int:
        return await _repeat(
            lambda most: self._reading.run(lambda c: c.fetchval("SELECT roll_up_spends($1, $2)", incarnation, most)),
            ROLL_UP_AT_ONCE,
        )

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        return await self._reading.run(partial(find_orders, order_ids=order_ids))

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

    async def slot_maps(self) -> Sequence[SlotMap]:
        return [read_slot_map(row) for row in await self._run(lambda c: c.fetch(EVER))]

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


_DUE_HOLDS = f"""
SELECT o.* FROM (SELECT h.order_id, h.hold_end FROM holds h
                 WHERE h.hold_end <= clock_timestamp() ORDER BY h.hold_end LIMIT $1) AS due
JOIN LATERAL (SELECT {ORDER_COLUMNS} FROM orders WHERE orders.order_id = due.order_id) AS o ON true
ORDER BY due.hold_end
"""  # noqa: S608 - constants

# A subquery, because both sides have columns of the same names.
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


async def _repeat(step: Callable[[int], Awaitable[int]], most: int) -> int:
    """Repeats a step that does at most `most` rows until it finds fewer; the sum of what it did."""
    total = 0
    while (done := await step(most)) == most:
        total += done
    return total + done
