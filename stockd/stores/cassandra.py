"""The ledger in Cassandra: conditional writes on one partition per SKU, decided among the replicas of the home data
centre (LOCAL_SERIAL, committed at LOCAL_QUORUM). Beside it counters, added to and read at LOCAL_QUORUM: at LOCAL_ONE an
addition would be lost with the one replica that has it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self
from uuid import UUID

from cassandra import ConsistencyLevel
from cassandra.query import BatchStatement, BatchType

from sluice.errors import LedgerMissing
from sluice.model import StockPolicy
from sluice.seams.stock_store import (
    Applied,
    Cell,
    Consistency,
    Counts,
    Ledger,
    NoSuchSku,
    Refused,
    Row,
    SkuPage,
    SkuSummary,
    WriteOutcome,
)
from stockd.stores import cassandra_schema
from stockd.stores.cassandra_session import Answer, CassandraSession, connect
from stockd.stores.opening import retry_until

REQUEST_TIMEOUT_S = 1.2
"""One attempt. The server gives up a contended write after `cas_contention_timeout` (1.0 s in the shipped file; 1.8 s
if the key is missing from it), and so answers first. Only the commit after a won round may take longer (up to
`write_request_timeout`, 2 s): then the outcome is unknown, the round may still land, and the guard of the resend sees
to it. Waiting for that too would keep callers longer than the two seconds after which they must hear UNAVAILABLE.
"""

OPEN_LIMIT_S = 60.0
"""A server started together with this process answers after 7 to 30 s."""

NOTED_PER_PAGE = 5_000
"""A server with 100,000 SKUs was seen to need longer for all of them than one request may take."""

_RESTOCK = 0
_TAKEN = 1

_LEVELS = {
    Consistency.STRONG: ConsistencyLevel.LOCAL_SERIAL,
    Consistency.QUORUM: ConsistencyLevel.LOCAL_QUORUM,
    Consistency.LOCAL: ConsistencyLevel.LOCAL_ONE,
}

_NOBODY = UUID(int=0)


class _Statements(NamedTuple):
    """The field's value is CQL until it is prepared.

    `available >= ?` is in every condition for two reasons: an addition to a missing value would be called applied and
    change nothing; and a refusal shows the columns of the condition.
    """

    create: Any = "INSERT INTO {keyspace}.stock (sku, available, policy) VALUES (?, 0, ?) IF NOT EXISTS"
    move: Any = (
        "UPDATE {keyspace}.stock SET available = available + ?, units = ?, version = ?"
        " WHERE sku = ? AND kind = ? AND id = ? IF available >= ? AND units = ? AND version = ?"
    )
    # Conditional like every write to this table; and a SKU that is not there must not come to be by it.
    spread: Any = "UPDATE {keyspace}.stock SET owners = ? WHERE sku = ? IF available >= 0"
    note_held: Any = "INSERT INTO {keyspace}.holders (incarnation, sku) VALUES (?, ?)"
    noted: Any = "SELECT sku FROM {keyspace}.holders WHERE incarnation = ? AND sku > ? LIMIT ?"
    rows: Any = "SELECT sku, units, version FROM {keyspace}.stock WHERE sku IN ? AND kind = ? AND id = ?"
    ledger: Any = "SELECT kind, id, units, version, owners, available, policy FROM {keyspace}.stock WHERE sku = ?"
    add_sold: Any = "UPDATE {keyspace}.counted SET units = units + ? WHERE sku = ? AND incarnation = ? AND number = ?"
    close_cell: Any = "INSERT INTO {keyspace}.counted_closed (sku, incarnation, number, units) VALUES (?, ?, ?, ?)"
    added: Any = "SELECT incarnation, number, units FROM {keyspace}.counted WHERE sku = ?"
    closed: Any = "SELECT incarnation, number, units FROM {keyspace}.counted_closed WHERE sku = ?"
    first_page: Any = "SELECT DISTINCT sku, policy, available FROM {keyspace}.stock LIMIT ?"
    # Two SKUs with the same 64-bit token would need billions of SKUs, so a token is as good as a position.
    next_page: Any = "SELECT DISTINCT sku, policy, available FROM {keyspace}.stock WHERE token(sku) > token(?) LIMIT ?"


class CassandraStore:
    """See `sluice.seams.stock_store.StockStore`. Pages are in token order."""

    def __init__(self, session: CassandraSession, statements: _Statements) -> None:
        self._session = session
        self._statements = statements
        # A read that needs a quorum, as every write does: a node that is cut off from the others cannot serve.
        session.watch_nodes(lambda: statements.noted.bind((_NOBODY, "", 1)))

    @classmethod
    async def open(
        cls,
        contact_points: str,
        keyspace: str,
        replication_factor: int,
        local_dc: str,
        *,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        open_limit_s: float = OPEN_LIMIT_S,
    ) -> Self:
        """Connects to one of `contact_points` (`host:port`, comma separated), makes keyspace and tables if they are
        not there, and goes on trying for `open_limit_s` seconds. Raises StoreUnreachable after that.
        """
        deadline = asyncio.get_running_loop().time() + open_limit_s
        session = await retry_until(deadline, partial(connect, contact_points, local_dc, request_timeout_s))
        try:
            creates = cassandra_schema.create_statements(keyspace, replication_factor, local_dc)
            await retry_until(deadline, partial(session.create, keyspace, cassandra_schema.TABLES, creates))
            return cls(session, await _prepared(session, keyspace, deadline))
        except BaseException:
            await session.close()
            raise

    @classmethod
    async def open_standing(
        cls, contact_points: str, keyspace: str, local_dc: str, *, open_limit_s: float = OPEN_LIMIT_S
    ) -> Self:
        """As `open` for who only looks: makes nothing. Raises LedgerMissing if keyspace or tables are not there."""
        deadline = asyncio.get_running_loop().time() + open_limit_s
        session = await retry_until(deadline, partial(connect, contact_points, local_dc, REQUEST_TIMEOUT_S))
        try:
            if not await retry_until(deadline, partial(session.stands, keyspace, cassandra_schema.TABLES)):
                raise LedgerMissing(  # noqa: TRY301 - the session is closed for it like for any other
                    f"Cassandra at {contact_points} has no ledger in a keyspace {keyspace}"
                )
            return cls(session, await _prepared(session, keyspace, deadline))
        except BaseException:
            await session.close()
            raise

    async def create_sku(self, sku: str, policy: StockPolicy) -> StockPolicy | None:
        row = _only_row(await self._session.write(self._statements.create.bind((sku, _policy_text(policy)))))
        return None if row["[applied]"] else StockPolicy[row["policy"].upper()]

    async def spread(self, sku: str, owners: int) -> bool:
        return bool(_only_row(await self._session.write(self._statements.spread.bind((owners, sku))))["[applied]"])

    async def restock(self, sku: str, restock_id: UUID, units: int) -> WriteOutcome:
        return await self._move(sku, _RESTOCK, restock_id, added=units, floor=0, before=None, units=units)

    async def take(self, sku: str, incarnation: UUID, before: Row | None, count: int) -> WriteOutcome:
        # A give-back needs nothing from available; that the value is there at all must still be tested.
        floor = max(count, 0)
        units = (before.units if before else 0) + count
        return await self._move(sku, _TAKEN, incarnation, added=-count, floor=floor, before=before, units=units)

    async def fold(self, sku: str, incarnation: UUID, before: Row | None, sold: int) -> WriteOutcome:
        added = (before.units if before else 0) - sold
        return await self._move(sku, _TAKEN, incarnation, added=added, floor=0, before=before, units=sold)

    async def note_held(self, incarnation: UUID, skus: Sequence[str]) -> None:
        # All lie in one partition, so that the node makes one write of them.
        batch = BatchStatement(BatchType.UNLOGGED)
        for sku in skus:
            batch.add(self._statements.note_held.bind((incarnation, sku)))
        await self._session.write(batch)

    async def skus_noted(self, incarnation: UUID) -> Sequence[str]:
        noted: list[str] = []
        while True:
            after = noted[-1] if noted else ""  # no SKU is empty
            statement = self._statements.noted.bind((incarnation, after, NOTED_PER_PAGE))
            answer = await self._session.read(statement, ConsistencyLevel.LOCAL_QUORUM)
            noted += [sku for (sku,) in answer.rows]
            if len(answer.rows) < NOTED_PER_PAGE:
                return noted

    async def rows(self, incarnation: UUID, skus: Sequence[str]) -> Mapping[str, Row]:
        bound = self._statements.rows.bind((list(skus), _TAKEN, incarnation))
        answer = await self._session.read(bound, ConsistencyLevel.LOCAL_QUORUM)
        return {sku: Row(units, version) for sku, units, version in answer.rows}

    async def read(self, sku: str, consistency: Consistency) -> Ledger | None:
        answer = await self._session.read(self._statements.ledger.bind((sku,)), _LEVELS[consistency])
        if consistency is Consistency.LOCAL and not _is_whole(answer):
            # One replica may have missed writes and know later ones: then it shows what never was. A quorum cannot.
            return await self.read(sku, Consistency.QUORUM)
        if not answer.rows:
            return None
        *_, owners, available, policy = answer.rows[0]
        restocks, held = _restocks(answer), _held(answer)
        return Ledger(sku, StockPolicy[policy.upper()], available, restocks, held, owners or 1)

    async def add_sold(self, sku: str, cell: Cell, units: int) -> None:
        # The server drops what it could not do within `counter_write_request_timeout` (5 s), which is longer than this
        # waits. So an addition of unknown outcome may land some seconds later.
        await self._session.write(self._statements.add_sold.bind((units, sku, *cell)))

    async def close_cell(self, sku: str, cell: Cell, units: int) -> None:
        await self._session.write(self._statements.close_cell.bind((sku, *cell, units)))

    async def counts(self, sku: str, consistency: Consistency) -> Counts:
        level = ConsistencyLevel.LOCAL_ONE if consistency is Consistency.LOCAL else ConsistencyLevel.LOCAL_QUORUM
        added, closed = await asyncio.gather(
            self._session.read(self._statements.added.bind((sku,)), level),
            self._session.read(self._statements.closed.bind((sku,)), level),
        )
        return Counts(_by_cell(added), _by_cell(closed))

    async def list_skus(self, after: str | None, limit: int) -> SkuPage:
        one_more = limit + 1  # tells whether a page follows
        if after is None:
            statement = self._statements.first_page.bind((one_more,))
        else:
            statement = self._statements.next_page.bind((after, one_more))
        answer = await self._session.read(statement, ConsistencyLevel.LOCAL_QUORUM)
        skus = [SkuSummary(sku, StockPolicy[policy.upper()], available) for sku, policy, available in answer.rows]
        return SkuPage(skus[:limit], skus[limit - 1].sku if len(skus) > limit else None)

    async def ping(self) -> None:
        # A read that needs a quorum, as every write does: one node that answers alone is no store.
        await self.skus_noted(_NOBODY)

    async def close(self) -> None:
        await self._session.close()

    async def _move(
        self, sku: str, kind: int, row_id: UUID, *, added: int, floor: int, before: Row | None, units: int
    ) -> WriteOutcome:
        old_units, old_version = before or (None, None)
        version = (old_version or 0) + 1
        statement = self._statements.move.bind(
            (added, units, version, sku, kind, row_id, floor, old_units, old_version)
        )
        seen = _only_row(await self._session.write(statement))
        if seen["[applied]"]:
            return Applied()
        if seen.get("available") is None:
            return NoSuchSku()
        return Refused(seen["available"], None if seen["units"] is None else Row(seen["units"], seen["version"]))


async def _prepared(session: CassandraSession, keyspace: str, deadline: float) -> _Statements:
    cql = (statement.format(keyspace=keyspace) for statement in _Statements())
    return _Statements(*[await retry_until(deadline, partial(session.prepare, text)) for text in cql])


def _only_row(answer: Answer) -> dict[str, Any]:
    """By name: the order of the columns differs between statements, and a missing SKU shows none of them."""
    (row,) = answer.rows
    return dict(zip(answer.columns, row, strict=True))


def _by_cell(answer: Answer) -> dict[Cell, int]:
    return {Cell(incarnation, number): units for incarnation, number, units in answer.rows}


def _restocks(answer: Answer) -> dict[UUID, int]:
    return {row_id: units for kind, row_id, units, *_ in answer.rows if kind == _RESTOCK}


def _held(answer: Answer) -> dict[UUID, Row]:
    return {row_id: Row(units, version) for kind, row_id, units, version, *_ in answer.rows if kind == _TAKEN}


def _is_whole(answer: Answer) -> bool:
    """Whether it shows the ledger as it was at some moment: the SKU stands, and no unit came or went."""
    if not answer.rows or None in answer.rows[0][-2:]:
        return False
    available = answer.rows[0][-2]
    held = sum(row.units for row in _held(answer).values())
    return bool(sum(_restocks(answer).values()) == available + held)


def _policy_text(policy: StockPolicy) -> str:
    return policy.name.lower()
