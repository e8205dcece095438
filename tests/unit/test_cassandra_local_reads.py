"""A read of one replica shows the ledger of some moment, and a quorum is asked where the replica has gaps."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from cassandra import ConsistencyLevel

from sluice.model import StockPolicy
from sluice.seams.stock_store import Consistency, Ledger, Row
from stockd.stores.cassandra import CassandraStore, _Statements
from stockd.stores.cassandra_session import Answer

RESTOCK, ONE, TWO = UUID(int=1), UUID(int=2), UUID(int=3)
Rows = Sequence[tuple[Any, ...]]


def rows(available: int | None, *units: tuple[int, UUID, int], policy: str | None = "exact") -> Rows:
    return [(kind, row_id, count, 1, None, available, policy) for kind, row_id, count in units]


WHOLE = rows(3, (0, RESTOCK, 10), (1, ONE, 5), (1, TWO, 2))


class Bound:
    def bind(self, values: Any) -> "Bound":
        return self


class Session:
    """Answers each consistency level from what that level's replicas have."""

    def __init__(self, local: Rows, quorum: Rows) -> None:
        self.answers = {ConsistencyLevel.LOCAL_ONE: local, ConsistencyLevel.LOCAL_QUORUM: quorum}
        self.asked: list[int] = []

    def watch_nodes(self, ask: Any) -> None:
        pass

    async def read(self, statement: Any, consistency: int) -> Answer:
        self.asked.append(consistency)
        return Answer((), self.answers[consistency])


async def read(local: Rows, quorum: Rows = WHOLE) -> tuple[Ledger | None, int]:
    session = Session(local, quorum)
    store = CassandraStore(session, _Statements(*[Bound()] * len(_Statements._fields)))  # type: ignore[arg-type]
    return await store.read("apple", Consistency.LOCAL), len(session.asked)


async def test_what_was_true_at_some_moment_is_answered_by_one_replica() -> None:
    before = rows(8, (0, RESTOCK, 10), (1, ONE, 2))
    assert await read(before) == (Ledger("apple", StockPolicy.EXACT, 8, {RESTOCK: 10}, {ONE: Row(2, 1)}), 1)


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param([], id="it missed the SKU"),
        pytest.param(rows(None, (1, ONE, 5), policy=None), id="it missed the creation"),
        pytest.param(rows(3, (1, ONE, 5), (1, TWO, 2)), id="it missed the restock"),
        pytest.param(rows(3, (0, RESTOCK, 10), (1, TWO, 2)), id="it missed a first take"),
        pytest.param(rows(3, (0, RESTOCK, 10), (1, ONE, 4), (1, TWO, 2)), id="it missed a later take"),
    ],
)
async def test_where_writes_are_missing_a_quorum_is_asked(torn: Rows) -> None:
    ledger, asked = await read(torn)
    assert ledger == Ledger("apple", StockPolicy.EXACT, 3, {RESTOCK: 10}, {ONE: Row(5, 1), TWO: Row(2, 1)})
    assert asked == 2
