"""The projection in Cassandra: plain writes whose timestamps are positions of the log, read and written at a quorum.

Cassandra keeps, of two writes to a cell, the one with the higher timestamp. With the position as timestamp that is the
state that counts further, whatever the clocks say and however late a write arrives, without a round of Paxos. Changes
of a SKU that are written together are one row, a stretch of its history (`stockd/stores/stock_stretches.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID

from cassandra import ConsistencyLevel
from cassandra.query import BatchStatement, BatchType

from sluice.errors import LedgerMissing
from sluice.seams.stock_projection import UNTOUCHED, Control, SkuChanges, SkuState, StockChange
from stockd.stores.cassandra_lists import bigints, texts
from stockd.stores.cassandra_schema import KEYSPACE
from stockd.stores.cassandra_session import Answer, CassandraSession, connect
from stockd.stores.opening import retry_until
from stockd.stores.stock_stretches import CHANGES_PER_PARTITION, CHANGES_PER_STRETCH, Stretch, stretches

T = TypeVar("T")

REQUEST_TIMEOUT_S = 4.0
"""Nobody waits for it but the log. Longer than what a server gives a conditional write and its commit, so that the
server says first what became of it."""

OPEN_LIMIT_S = 60.0
"""As for the ledger."""

REQUESTS_AT_ONCE = 48
"""Half of what the session lets through at once, so that no call of ours waits for one of its places."""

HISTORY_KEPT_S = 7 * 24 * 3600
"""Long enough to look at a sale after a week-end."""

SCANNED_PER_PAGE = 2_000

SKUS_PER_READ = 50
"""Their partitions are read by one request: some 10 KB of answer. A request costs both sides more than a state does."""

STATES_PER_WRITE = 10
"""One batch, not a logged one: nothing needs its states to be written together. A server warns of a batch that is for
more partitions than this, or larger than 5 KB."""

PLACES_PER_ROW = 1 << 22
"""More than the events of one outbox row, so that (number, place) fits one timestamp: there is room for 2^41 rows."""

TABLES = {"stock_state": "sold", "stock_update": "deltas", "projection_control": "version"}

_LISTS = slice(5, 9)
"""Their place among the values of `keep_stretch`."""

_LAST_TIMESTAMP = 2**63 - 1

# No time to live: a state is what the whole log says.
_STATE = """
CREATE TABLE IF NOT EXISTS {keyspace}.stock_state (
    generation uuid, sku text, journal uuid,
    number bigint, place int, sold bigint, changes bigint, time_ms bigint,
    PRIMARY KEY ((generation, sku), journal)
) WITH compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}}
  AND speculative_retry = 'MIN(99PERCENTILE,50MS)'
"""

# A partition is a stretch of a SKU's changes by their number, not by their time: then its size has a bound however hot
# the SKU is, and its last partition is known without looking. Files are windows of a day: they expire whole. A row is a
# stretch from `change` on, each list with an entry for each change; a list that is frozen is one cell.
_UPDATE = """
CREATE TABLE IF NOT EXISTS {keyspace}.stock_update (
    generation uuid, sku text, journal uuid, part bigint, change bigint,
    deltas frozen<list<bigint>>, order_ids frozen<list<text>>, order_versions frozen<list<bigint>>,
    times_ms frozen<list<bigint>>,
    PRIMARY KEY ((generation, sku, journal, part), change)
) WITH CLUSTERING ORDER BY (change DESC) AND default_time_to_live = {history_kept_s}
  AND compaction = {{'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'DAYS',
                     'compaction_window_size': 1}}
  AND speculative_retry = 'MIN(99PERCENTILE,50MS)'
"""

_CONTROL = """
CREATE TABLE IF NOT EXISTS {keyspace}.projection_control (
    name text PRIMARY KEY, version bigint, live uuid, rebuilding uuid, handing_over boolean
)
"""


class _Statements(NamedTuple):
    """The field's value is CQL until it is prepared."""

    control: Any = "SELECT version, live, rebuilding, handing_over FROM {keyspace}.projection_control WHERE name = ?"
    replace_control: Any = (
        "UPDATE {keyspace}.projection_control SET version = ?, live = ?, rebuilding = ?, handing_over = ?"
        " WHERE name = ? IF version = ?"
    )
    states: Any = (
        "SELECT sku, journal, number, place, sold, changes, time_ms FROM {keyspace}.stock_state"
        " WHERE generation = ? AND sku IN ?"
    )
    keep_state: Any = (
        "INSERT INTO {keyspace}.stock_state (generation, sku, journal, number, place, sold, changes, time_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
    )
    keep_stretch: Any = (
        "INSERT INTO {keyspace}.stock_update"
        " (generation, sku, journal, part, change, deltas, order_ids, order_versions, times_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
    )
    recent: Any = (
        "SELECT change, deltas, order_ids, order_versions, times_ms FROM {keyspace}.stock_update"
        " WHERE generation = ? AND sku = ? AND journal = ? AND part = ? AND change > ?"
    )
    first_keys: Any = "SELECT DISTINCT generation, sku FROM {keyspace}.stock_state LIMIT ?"
    # Two partitions with the same 64-bit token would need billions of them, so a token is as good as a position.
    next_keys: Any = (
        "SELECT DISTINCT generation, sku FROM {keyspace}.stock_state WHERE token(generation, sku) > token(?, ?) LIMIT ?"
    )
    drop_states: Any = "DELETE FROM {keyspace}.stock_state USING TIMESTAMP ? WHERE generation = ? AND sku = ?"


_CONTROL_NAME = "stock"


class CassandraProjection:
    """See `sluice.seams.stock_projection.StockProjection`."""

    def __init__(self, session: CassandraSession, statements: _Statements, now_ms: Callable[[], int]) -> None:
        self._session = session
        self._statements = statements
        self._now_ms = now_ms
        self._requests = asyncio.Semaphore(REQUESTS_AT_ONCE)
        session.watch_nodes(lambda: statements.control.bind((_CONTROL_NAME,)))

    @classmethod
    async def open(
        cls, contact_points: str, keyspace: str, replication_factor: int, local_dc: str, now_ms: Callable[[], int]
    ) -> Self:
        """Connects, makes keyspace and tables if they are not there, and goes on trying for a minute. Raises
        StoreUnreachable after that.
        """
        creates = [
            statement.format(
                keyspace=keyspace,
                replication_factor=replication_factor,
                local_dc=local_dc,
                history_kept_s=HISTORY_KEPT_S,
            )
            for statement in (KEYSPACE, _STATE, _UPDATE, _CONTROL)
        ]
        return await cls._open(
            contact_points, keyspace, local_dc, now_ms, lambda session: session.create(keyspace, TABLES, creates)
        )

    @classmethod
    async def open_standing(cls, contact_points: str, keyspace: str, local_dc: str, now_ms: Callable[[], int]) -> Self:
        """As `open` for who only looks or rebuilds: makes nothing. Raises LedgerMissing if there is no projection."""

        async def look(session: CassandraSession) -> None:
            if not await session.stands(keyspace, TABLES):
                raise LedgerMissing(f"Cassandra at {contact_points} has no projection in a keyspace {keyspace}")

        return await cls._open(contact_points, keyspace, local_dc, now_ms, look)

    @classmethod
    async def _open(
        cls,
        contact_points: str,
        keyspace: str,
        local_dc: str,
        now_ms: Callable[[], int],
        prepare_tables: Callable[[CassandraSession], Awaitable[None]],
    ) -> Self:
        deadline = asyncio.get_running_loop().time() + OPEN_LIMIT_S
        session = await retry_until(deadline, partial(connect, contact_points, local_dc, REQUEST_TIMEOUT_S))
        try:
            await retry_until(deadline, partial(prepare_tables, session))
            cql = (statement.format(keyspace=keyspace) for statement in _Statements())
            prepared = [await retry_until(deadline, partial(session.prepare, text)) for text in cql]
            return cls(session, _Statements(*prepared), now_ms)
        except BaseException:
            await session.close()
            raise

    async def control(self) -> Control:
        # Serial: it finishes a replacement whose outcome nobody knows, so that it is not seen now and gone later.
        bound = self._statements.control.bind((_CONTROL_NAME,))
        rows = (await self._read(bound, ConsistencyLevel.LOCAL_SERIAL)).rows
        if not rows:
            return UNTOUCHED
        version, live, rebuilding, handing_over = rows[0]
        return Control(version, live, rebuilding, handing_over)

    async def replace_control(self, before: Control, after: Control) -> bool:
        values = (after.version, after.live, after.rebuilding, after.handing_over)
        answer = await self._write(
            self._statements.replace_control.bind((*values, _CONTROL_NAME, before.version or None))
        )
        (row,) = answer.rows
        return bool(dict(zip(answer.columns, row, strict=True))["[applied]"])

    async def states(self, generation: UUID, skus: Sequence[str]) -> Mapping[tuple[str, UUID], SkuState]:
        return {(state.sku, state.journal): state for state in await self._states(generation, skus)}

    async def write(self, generation: UUID, states: Sequence[SkuState], changes: Sequence[SkuChanges]) -> None:
        now_ms = self._now_ms()
        kept = [(each, kept_s) for each in stretches(changes) if (kept_s := _kept_s(each, now_ms)) > 0]
        # A stretch that is written again has the same timestamp and an expiry that is a moment later: no harm.
        await _all(self._keep(generation, stretch, kept_s) for stretch, kept_s in kept)
        await _all(self._write(self._batch(generation, some)) for some in _in_pieces(states, STATES_PER_WRITE))

    async def recent(self, generation: UUID, sku: str, limit: int) -> Sequence[StockChange]:
        found: list[StockChange] = []
        for state in await self._states(generation, [sku]):
            wanted = range(max(0, state.changes - limit), state.changes)
            by_ordinal: dict[int, StockChange] = {}
            # The last partition may hold a few only; below the first one that has nothing all have expired.
            for part in range(
                (state.changes - 1) // CHANGES_PER_PARTITION, wanted.start // CHANGES_PER_PARTITION - 1, -1
            ):
                # Stretches overlap where something was written twice; one that begins earlier does not reach so far.
                bound = self._statements.recent.bind(
                    (generation, sku, state.journal, part, wanted.start - CHANGES_PER_STRETCH)
                )
                rows = (await self._read(bound, ConsistencyLevel.LOCAL_QUORUM)).rows
                for first, *lists in rows:
                    stretch = SkuChanges(sku, state.journal, first, *lists)
                    by_ordinal |= {each.ordinal: each for each in stretch.one_by_one() if each.ordinal in wanted}
                if not rows:
                    break
            found += by_ordinal.values()
        return sorted(found, key=lambda change: (-change.time_ms, change.journal, -change.ordinal))[:limit]

    async def scan(self, generation: UUID) -> AsyncIterator[Sequence[SkuState]]:
        async for keys in self._keys():
            yield await self._states(generation, [sku for of, sku in keys if of == generation])

    async def drop(self, generation: UUID) -> None:
        # Above every position: nobody writes to this generation again.
        drop = self._statements.drop_states
        async for keys in self._keys():
            await _all(
                self._write(drop.bind((_LAST_TIMESTAMP, generation, sku))) for of, sku in keys if of == generation
            )

    async def generations(self) -> frozenset[UUID]:
        return frozenset({generation async for keys in self._keys() for generation, _ in keys})

    async def close(self) -> None:
        await self._session.close()

    async def _states(self, generation: UUID, skus: Sequence[str]) -> Sequence[SkuState]:
        read = self._statements.states
        answers = await _all(
            self._read(read.bind((generation, some)), ConsistencyLevel.LOCAL_QUORUM)
            for some in _in_pieces(skus, SKUS_PER_READ)
        )
        return [SkuState(*row) for answer in answers for row in answer.rows]

    def _batch(self, generation: UUID, states: Sequence[SkuState]) -> Any:
        keep = self._statements.keep_state
        batch = BatchStatement(BatchType.UNLOGGED)
        for state in states:
            batch.add(keep.bind((generation, *state, state.number * PLACES_PER_ROW + state.place)))
        return batch

    async def _keep(self, generation: UUID, stretch: Stretch, kept_s: int) -> None:
        *key, deltas, order_ids, order_versions, times_ms, timestamp = stretch
        bound = self._statements.keep_stretch.bind((generation, *key, (), (), (), (), timestamp, kept_s))
        bound.values[_LISTS] = [bigints(deltas), texts(order_ids), bigints(order_versions), bigints(times_ms)]
        await self._write(bound)
        # The request lives on in the driver for a while: seconds of what was written add up to megabytes.
        bound.values.clear()

    async def _keys(self) -> AsyncIterator[Sequence[tuple[UUID, str]]]:
        """Of all generations, in token order."""
        bound = self._statements.first_keys.bind((SCANNED_PER_PAGE,))
        while rows := (await self._read(bound, ConsistencyLevel.LOCAL_QUORUM)).rows:
            yield [(generation, sku) for generation, sku in rows]
            bound = self._statements.next_keys.bind((*rows[-1], SCANNED_PER_PAGE))

    async def _write(self, statement: Any) -> Answer:
        async with self._requests:
            return await self._session.write(statement)

    async def _read(self, statement: Any, consistency: ConsistencyLevel) -> Answer:
        async with self._requests:
            return await self._session.read(statement, consistency)


def _in_pieces(whole: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    return (whole[start : start + length] for start in range(0, len(whole), length))


def _kept_s(stretch: Stretch, now_ms: int) -> int:
    """As long as its newest change is to be kept."""
    return min(HISTORY_KEPT_S, HISTORY_KEPT_S - (now_ms - max(stretch.times_ms)) // 1000)


async def _all(calls: Iterable[Awaitable[T]]) -> Sequence[T]:
    """Beside each other. All have ended when it returns or raises: nothing of it may still be on its way."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results
