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

NOBODY, RESTOCK, ONE, TWO = (UUID(int=number) for number in range(4))
Rows = Sequence[tuple[Any, ...]]


def rows(available: int | None, *units: tuple[int, UUID, int]) -> Rows:
    """None available: without the SKU itself."""
    itself = [] if available is None else [(0, NOBODY, None, None, None, available, "exact")]
    return itself + [(kind, row_id, count, 1, None, None, None) for kind, row_id, count in units]


WHOLE = rows(3, (1, RESTOCK, 10), (2, ONE, 5), (2, TWO, 2))


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
    before = rows(8, (1, RESTOCK, 10), (2, ONE, 2))
    assert await read(before) == (Ledger("apple", StockPolicy.EXACT, 8, {RESTOCK: 10}, {ONE: Row(2, 1)}), 1)


@pytest.mark.parametrize(
    "torn",
    [
        pytest.param([], id="it missed the SKU"),
        pytest.param(rows(None, (1, RESTOCK, 10), (2, ONE, 5)), id="it missed the creation"),
        pytest.param(rows(3, (2, ONE, 5), (2, TWO, 2)), id="it missed the restock"),
        pytest.param(rows(3, (1, RESTOCK, 10), (2, TWO, 2)), id="it missed a first take"),
        pytest.param(rows(3, (1, RESTOCK, 10), (2, ONE, 4), (2, TWO, 2)), id="it missed a later take"),
    ],
)
async def test_where_writes_are_missing_a_quorum_is_asked(torn: Rows) -> None:
    ledger, asked = await read(torn)
    assert ledger == Ledger("apple", StockPolicy.EXACT, 3, {RESTOCK: 10}, {ONE: Row(5, 1), TWO: Row(2, 1)})
    assert asked == 2
