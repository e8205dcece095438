"""The ledger in Cassandra: conditional writes, decided among the replicas of the home data centre (LOCAL_SERIAL,
committed at LOCAL_QUORUM). SKUs share partitions, and what is to be written of several SKUs of a partition is one round
of consensus. Beside it counters, added to and read at LOCAL_QUORUM: at LOCAL_ONE an addition would be lost with the one
replica that has it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Self
from uuid import UUID

from cassandra import ConsistencyLevel
from cassandra.query import BatchStatement, BatchType, SimpleStatement

from sluice.errors import LedgerMissing, LedgerTooOld, StoreUnreachable
from sluice.model import StockPolicy
from sluice.seams.stock_store import (
    Applied,
    Cell,
    Consistency,
    Counts,
    Head,
    Ledger,
    Row,
    SkuPage,
    SkuSummary,
    WriteOutcome,
)
from stockd.stores import cassandra_schema
from stockd.stores.cassandra_schema import NOBODY, RESTOCK, SKU, TAKEN, part_of, policy_of, policy_text
from stockd.stores.cassandra_session import Answer, CassandraSession, connect
from stockd.stores.cassandra_writes import Create, Move, Told, applied, refusals
from stockd.stores.opening import retry_until
from stockd.stores.rounds import Rounds

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

_LEVELS = {
    Consistency.STRONG: ConsistencyLevel.LOCAL_SERIAL,
    Consistency.QUORUM: ConsistencyLevel.LOCAL_QUORUM,
    Consistency.LOCAL: ConsistencyLevel.LOCAL_ONE,
}


CARELESS_SYNC = "periodic"
"""Acknowledges a write up to ten seconds before it is on disk."""

_COMMIT_LOG_SYNC = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'"


class _Statements(NamedTuple):
    """The field's value is CQL until it is prepared.

    `available >= ?` is tested with every addition for two reasons: an addition to a missing value would be called
    applied and change nothing; and a refusal shows the columns of the condition.
    """

    create: Any = (
        "INSERT INTO {keyspace}.ledger (part, kind, sku, id, available, policy) VALUES (?, ?, ?, ?, 0, ?) IF NOT EXISTS"
    )
    add: Any = (
        "UPDATE {keyspace}.ledger SET available = available + ?"
        " WHERE part = ? AND kind = ? AND sku = ? AND id = ? IF available >= ?"
    )
    put: Any = (
        "UPDATE {keyspace}.ledger SET units = ?, version = ?"
        " WHERE part = ? AND kind = ? AND sku = ? AND id = ? IF units = ? AND version = ?"
    )
    # Conditional like every write to this table; and a SKU that is not there must not come to be by it.
    spread: Any = (
        "UPDATE {keyspace}.ledger SET owners = ? WHERE part = ? AND kind = ? AND sku = ? AND id = ? IF available >= 0"
    )
    note_held: Any = "INSERT INTO {keyspace}.holders (incarnation, sku) VALUES (?, ?)"
    noted: Any = "SELECT sku FROM {keyspace}.holders WHERE incarnation = ? AND sku > ? LIMIT ?"
    rows: Any = "SELECT sku, units, version FROM {keyspace}.ledger WHERE part = ? AND kind = ? AND sku IN ? AND id = ?"
    ledger: Any = (
        "SELECT kind, id, units, version, owners, available, policy FROM {keyspace}.ledger"
        " WHERE part = ? AND kind IN ? AND sku = ?"
    )
    heads: Any = (
        "SELECT sku, policy, available, owners FROM {keyspace}.ledger"
        " WHERE part = ? AND kind = ? AND sku IN ? AND id = ?"
    )
    page: Any = "SELECT sku, policy, available FROM {keyspace}.ledger WHERE part = ? AND kind = ? AND sku > ? LIMIT ?"
    add_sold: Any = "UPDATE {keyspace}.counted SET units = units + ? WHERE sku = ? AND incarnation = ? AND number = ?"
    close_cell: Any = "INSERT INTO {keyspace}.counted_closed (sku, incarnation, number, units) VALUES (?, ?, ?, ?)"
    added: Any = "SELECT incarnation, number, units FROM {keyspace}.counted WHERE sku = ?"
    closed: Any = "SELECT incarnation, number, units FROM {keyspace}.counted_closed WHERE sku = ?"


class _Bound(NamedTuple):
    """A write with its statements: they are bound for who asks, so that a value that does not fit is its own affair."""

    write: Create | Move
    statements: Sequence[Any]


SKUS_AT_ONCE = 512
"""So many that those of a partition share rounds, sixteen or more to each; so few that all of them are answered in time
by a ledger that has only just started and does 1,500 a second."""


class CassandraStore:
    """See `sluice.seams.stock_store.StockStore`. Pages are in the order of partitions, and of SKUs in each."""

    skus_at_once = SKUS_AT_ONCE

    def __init__(self, session: CassandraSession, statements: _Statements) -> None:
        self._session = session
        self._statements = statements
        self._writes: Rounds[_Bound, Told] = Rounds(self._write_round)
        self._heads: Rounds[str, _HeadRead] = Rounds(self._read_heads)
        # A read that needs a quorum, as every write does: a node that is cut off from the others cannot serve.
        session.watch_nodes(lambda: statements.noted.bind((NOBODY, "", 1)))

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
        not there, and goes on trying for `open_limit_s` seconds. Raises StoreUnreachable after that, LedgerTooOld for
        a ledger in a form that this release does not know.
        """
        deadline = asyncio.get_running_loop().time() + open_limit_s
        session = await retry_until(deadline, partial(connect, contact_points, local_dc, request_timeout_s))
        try:
            await _refuse_ledger_before(session, keyspace, deadline)
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
            await _refuse_ledger_before(session, keyspace, deadline)
            if not await retry_until(deadline, partial(session.stands, keyspace, cassandra_schema.TABLES)):
                raise LedgerMissing(  # noqa: TRY301 - the session is closed for it like for any other
                    f"Cassandra at {contact_points} has no ledger in a keyspace {keyspace}"
                )
            return cls(session, await _prepared(session, keyspace, deadline))
        except BaseException:
            await session.close()
            raise

    async def create_sku(self, sku: str, policy: StockPolicy) -> StockPolicy | None:
        part = part_of(sku)
        statement = self._statements.create.bind((part, SKU, sku, NOBODY, policy_text(policy)))
        told = await self._writes.ask(part, sku, _Bound(Create(sku), (statement,)))
        return told if isinstance(told, StockPolicy) else None

    async def spread(self, sku: str, owners: int) -> bool:
        bound = self._statements.spread.bind((owners, part_of(sku), SKU, sku, NOBODY))
        return applied(await self._session.write(bound))

    async def restock(self, sku: str, restock_id: UUID, units: int) -> WriteOutcome:
        return await self._move(sku, RESTOCK, restock_id, added=units, floor=0, before=None, units=units)

    async def withdraw(self, sku: str, withdrawal_id: UUID, units: int) -> WriteOutcome:
        return await self._move(sku, RESTOCK, withdrawal_id, added=-units, floor=units, before=None, units=-units)

    async def take(self, sku: str, incarnation: UUID, before: Row | None, count: int) -> WriteOutcome:
        # A give-back needs nothing from available; that the value is there at all must still be tested.
        floor = max(count, 0)
        units = (before.units if before else 0) + count
        return await self._move(sku, TAKEN, incarnation, added=-count, floor=floor, before=before, units=units)

    async def fold(self, sku: str, incarnation: UUID, before: Row | None, sold: int) -> WriteOutcome:
        added = (before.units if before else 0) - sold
        return await self._move(sku, TAKEN, incarnation, added=added, floor=0, before=before, units=sold)

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
        by_part: dict[int, list[str]] = {}
        for sku in skus:
            by_part.setdefault(part_of(sku), []).append(sku)
        statements = [
            self._statements.rows.bind((part, TAKEN, of_part, incarnation)) for part, of_part in by_part.items()
        ]
        answers = await asyncio.gather(
            *(self._session.read(statement, ConsistencyLevel.LOCAL_QUORUM) for statement in statements)
        )
        return {sku: Row(units, version) for answer in answers for sku, units, version in answer.rows}

    async def read(self, sku: str, consistency: Consistency) -> Ledger | None:
        statement = self._statements.ledger.bind((part_of(sku), [SKU, RESTOCK, TAKEN], sku))
        answer = await self._session.read(statement, _LEVELS[consistency])
        ledger = _ledger(sku, answer)
        if consistency is Consistency.LOCAL and not _is_whole(ledger):
            # One replica may have missed writes and know later ones: then it shows what never was. A quorum cannot.
            return await self.read(sku, Consistency.QUORUM)
        return ledger

    async def head(self, sku: str) -> Head | None:
        return (await self._heads.ask(part_of(sku), sku, sku)).head

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
        skus: list[SkuSummary] = []
        one_more = limit + 1  # tells whether a page follows
        part, at_once = 0, 1
        if after is not None:
            part = part_of(after)
            skus += await self._page(part, after, one_more)
            part += 1
        while part < cassandra_schema.PARTITIONS and len(skus) < one_more:
            parts = range(part, min(part + at_once, cassandra_schema.PARTITIONS))
            pages = await asyncio.gather(*(self._page(each, "", one_more - len(skus)) for each in parts))
            skus += [summary for page in pages for summary in page]
            part, at_once = parts.stop, 2 * at_once  # the first may have enough, and all may be empty
        return SkuPage(skus[:limit], skus[limit - 1].sku if len(skus) > limit else None)

    async def careless_settings(self) -> Sequence[str]:
        # Of the node that answers: those of a cluster are set alike.
        (row,) = (await self._session.read(SimpleStatement(_COMMIT_LOG_SYNC), ConsistencyLevel.ONE)).rows
        (sync,) = row
        return [f"Cassandra: commitlog_sync is {sync}"] if sync == CARELESS_SYNC else []

    async def ping(self) -> None:
        # A read that needs a quorum, as every write does: one node that answers alone is no store.
        await self.skus_noted(NOBODY)

    async def close(self) -> None:
        await self._session.close()

    async def _move(
        self, sku: str, kind: int, row_id: UUID, *, added: int, floor: int, before: Row | None, units: int
    ) -> WriteOutcome:
        part = part_of(sku)
        after = Row(units, (before.version if before else 0) + 1)
        statements = (
            self._statements.add.bind((added, part, SKU, sku, NOBODY, floor)),
            self._statements.put.bind((*after, part, kind, sku, row_id, *(before or _NO_ROW))),
        )
        told = await self._writes.ask(part, sku, _Bound(Move(sku, kind, row_id, floor, before), statements))
        assert not isinstance(told, StockPolicy), "only what creates is told a policy"
        return told

    async def _write_round(self, part: int, writes: Sequence[_Bound]) -> Sequence[Told | None]:
        """All of them or none. Who had its own conditions fulfilled, when others had not, is told nothing yet."""
        del part  # the statements say so
        batch = BatchStatement(BatchType.UNLOGGED)
        for _, statements in writes:
            for statement in statements:
                batch.add(statement)
        answer = await self._session.write(batch)
        if applied(answer):
            return [Applied()] * len(writes)
        told = refusals([write for write, _ in writes], answer)
        if not any(outcome is not None for outcome in told):
            raise StoreUnreachable(f"refused without a reason that can be seen: {answer.rows}", outcome_unknown=True)
        return told

    async def _read_heads(self, part: int, skus: Sequence[str]) -> Sequence["_HeadRead"]:
        bound = self._statements.heads.bind((part, SKU, list(skus), NOBODY))
        answer = await self._session.read(bound, ConsistencyLevel.LOCAL_QUORUM)
        heads = {sku: Head(policy_of(policy), available, owners or 1) for sku, policy, available, owners in answer.rows}
        return [_HeadRead(heads.get(sku)) for sku in skus]

    async def _page(self, part: int, after: str, limit: int) -> list[SkuSummary]:
        statement = self._statements.page.bind((part, SKU, after, limit))  # no SKU is empty
        answer = await self._session.read(statement, ConsistencyLevel.LOCAL_QUORUM)
        return [SkuSummary(sku, policy_of(policy), available) for sku, policy, available in answer.rows]


_NO_ROW = (None, None)


class _HeadRead(NamedTuple):
    """None if there is no such SKU."""

    head: Head | None


async def _refuse_ledger_before(session: CassandraSession, keyspace: str, deadline: float) -> None:
    if await retry_until(deadline, partial(session.stands, keyspace, cassandra_schema.TABLES_BEFORE)):
        raise LedgerTooOld(
            f"the ledger in keyspace {keyspace} has a partition for each SKU, as before release 0.1; "
            "this release does not read it: give it another keyspace, or drop the old table `stock`"
        )


async def _prepared(session: CassandraSession, keyspace: str, deadline: float) -> _Statements:
    cql = (statement.format(keyspace=keyspace) for statement in _Statements())
    return _Statements(*[await retry_until(deadline, partial(session.prepare, text)) for text in cql])


def _by_cell(answer: Answer) -> dict[Cell, int]:
    return {Cell(incarnation, number): units for incarnation, number, units in answer.rows}


def _ledger(sku: str, answer: Answer) -> Ledger | None:
    """None if there is no such SKU."""
    head: Head | None = None
    restocks: dict[UUID, int] = {}
    held: dict[UUID, Row] = {}
    for kind, row_id, units, version, owners, available, policy in answer.rows:
        if kind == RESTOCK:
            restocks[row_id] = units
        elif kind == TAKEN:
            held[row_id] = Row(units, version)
        elif policy is not None and available is not None:
            head = Head(policy_of(policy), available, owners or 1)
    if head is None:
        return None
    return Ledger(sku, head.policy, head.available, restocks, held, head.owners)


def _is_whole(ledger: Ledger | None) -> bool:
    """Whether it shows the ledger as it was at some moment: the SKU stands, and no unit came or went."""
    if ledger is None:
        return False
    held = sum(row.units for row in ledger.held.values())
    return sum(ledger.restocks.values()) == ledger.available + held
