"""Whatever is sent in whatever order, late and repeated, a store does what the plain model does."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Ledger, StockStore, WriteOutcome
from sluice.sqlite_file import SqliteFile
from stockd.stores.cassandra import CassandraStore
from stockd.stores.redis import RedisStore
from stockd.stores.sqlite import SqliteStore

from .conftest import CASSANDRA_KEYSPACE, REDIS_PREFIX
from .model import Fold, LedgerModel, Restock, Take, Withdraw, Write

# Few and small, so that rows often come back to a number of units that they had.
INCARNATIONS = (UUID(int=1), UUID(int=2))
FIRST_RESTOCK_ID = UUID(int=10)
RESTOCK_IDS = (UUID(int=11), UUID(int=12), UUID(int=13))

incarnations = st.sampled_from(INCARNATIONS)
small_counts = st.integers(1, 2)
at_once = st.booleans()


class AnyOrder(RuleBasedStateMachine):
    """A write is made from what its sender believes, which is what the row was at that moment. It may be sent now or
    at any later time, and again after that, whatever became of it.
    """

    written = Bundle("written")

    def __init__(self, runner: asyncio.Runner, store: StockStore) -> None:
        super().__init__()
        self.runner = runner
        self.store = store
        self.model = LedgerModel()
        self.sku = f"sku-{uuid4()}"
        self.applied: set[Write] = set()

    @initialize()
    def create_with_some_stock(self) -> None:
        assert self.runner.run(self.store.create_sku(self.sku, StockPolicy.ESCROW)) is None
        self._send(Restock(FIRST_RESTOCK_ID, 5))

    @rule(target=written, restock_id=st.sampled_from(RESTOCK_IDS), units=st.integers(1, 9), at_once=at_once)
    def restock(self, restock_id: UUID, units: int, at_once: bool) -> Write:
        return self._written(Restock(restock_id, units), at_once)

    @rule(target=written, withdrawal_id=st.sampled_from(RESTOCK_IDS), units=st.integers(1, 9), at_once=at_once)
    def withdraw(self, withdrawal_id: UUID, units: int, at_once: bool) -> Write:
        """Perhaps under the id of a restock."""
        return self._written(Withdraw(withdrawal_id, units), at_once)

    @rule(target=written, incarnation=incarnations, count=small_counts, at_once=at_once)
    def take(self, incarnation: UUID, count: int, at_once: bool) -> Write:
        return self._written(Take(incarnation, self.model.held.get(incarnation), count), at_once)

    @rule(target=written, incarnation=incarnations, count=small_counts, at_once=at_once)
    def give_back(self, incarnation: UUID, count: int, at_once: bool) -> Write:
        """Perhaps more than it took: units of cancelled orders."""
        return self._written(Take(incarnation, self.model.held.get(incarnation), -count), at_once)

    @rule(target=written, incarnation=incarnations, sold=st.integers(-3, 3), at_once=at_once)
    def fold(self, incarnation: UUID, sold: int, at_once: bool) -> Write:
        row = self.model.held.get(incarnation)
        return self._written(Fold(incarnation, row, min(sold, row.units if row else 0)), at_once)

    @rule(write=written)
    def send_late_or_again(self, write: Write) -> None:
        self._send(write)

    @invariant()
    def rows_are_the_models(self) -> None:
        model = self.model
        assert model.available == sum(model.restocks.values()) - sum(row.units for row in model.held.values())
        ledger = self.runner.run(self.store.read(self.sku, Consistency.STRONG))
        assert ledger == Ledger(self.sku, StockPolicy.ESCROW, model.available, model.restocks, model.held)

    def _written(self, write: Write, at_once: bool) -> Write:
        if at_once:
            self._send(write)
        return write

    def _send(self, write: Write) -> None:
        outcome = self.runner.run(_sent(self.store, self.sku, write))
        assert outcome == self.model.apply(write)
        if outcome == Applied():
            assert write not in self.applied
            self.applied.add(write)


async def _sent(store: StockStore, sku: str, write: Write) -> WriteOutcome:
    match write:
        case Restock(restock_id, units):
            return await store.restock(sku, restock_id, units)
        case Withdraw(withdrawal_id, units):
            return await store.withdraw(sku, withdrawal_id, units)
        case Take(incarnation, before, count):
            return await store.take(sku, incarnation, before, count)
        case Fold(incarnation, before, sold):
            return await store.fold(sku, incarnation, before, sold)


def _check(runner: asyncio.Runner, store: StockStore, examples: int) -> None:
    run_state_machine_as_test(
        lambda: AnyOrder(runner, store),
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow],  # disks and servers take what they take
        ),
    )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_sqlite_does_what_the_model_does(runner: asyncio.Runner, tmp_path: Path) -> None:
    file = runner.run(SqliteFile.open(tmp_path / "stock.db"))
    try:
        _check(runner, runner.run(SqliteStore.open(file)), examples=150)
    finally:
        runner.run(file.close())


@pytest.mark.servers
def test_redis_does_what_the_model_does(runner: asyncio.Runner, redis_url: str) -> None:
    store = runner.run(RedisStore.open(redis_url, REDIS_PREFIX))
    try:
        _check(runner, store, examples=60)
    finally:
        runner.run(store.close())


@pytest.mark.servers
def test_cassandra_does_what_the_model_does(runner: asyncio.Runner, cassandra_contact_points: str) -> None:
    store = runner.run(CassandraStore.open(cassandra_contact_points, CASSANDRA_KEYSPACE, 1, "datacenter1"))
    try:
        _check(runner, store, examples=15)
    finally:
        runner.run(store.close())
