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
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Ledger, StockStore, WriteOutcome
from sluice.sqlite_file import SqliteFile
from stockd.stores.cassandra import CassandraStore
from stockd.stores.sqlite import SqliteStore

from .conftest import CASSANDRA_KEYSPACE
from .model import Fold, LedgerModel, Restock, Take, Write

INCARNATIONS = tuple(UUID(int=number) for number in (1, 2, 3))
RESTOCK_IDS = tuple(UUID(int=number) for number in (11, 12, 13))

incarnations = st.sampled_from(INCARNATIONS)
small_counts = st.integers(1, 4)


class AnyOrder(RuleBasedStateMachine):
    """A write is made from what its sender believes, which is what the row was at that moment. It may be sent now or
    at any later time, and again after that, whatever became of it.
    """

    unsent = Bundle("unsent")
    sent = Bundle("sent")

    def __init__(self, runner: asyncio.Runner, store: StockStore) -> None:
        super().__init__()
        self.runner = runner
        self.store = store
        self.model = LedgerModel()
        self.sku = f"sku-{uuid4()}"
        self.applied: set[Write] = set()

    @initialize()
    def create(self) -> None:
        assert self.runner.run(self.store.create_sku(self.sku, StockPolicy.ESCROW)) is None

    @rule(target=unsent, restock_id=st.sampled_from(RESTOCK_IDS), units=st.integers(1, 9))
    def write_a_restock(self, restock_id: UUID, units: int) -> Write:
        return Restock(restock_id, units)

    @rule(target=unsent, incarnation=incarnations, count=small_counts)
    def write_a_take(self, incarnation: UUID, count: int) -> Write:
        return Take(incarnation, self.model.held.get(incarnation), count)

    @rule(target=unsent, incarnation=incarnations, count=small_counts)
    def write_a_give_back(self, incarnation: UUID, count: int) -> Write | MultipleResults[Write]:
        row = self.model.held.get(incarnation)
        return Take(incarnation, row, -min(count, row.units)) if row else multiple()

    @rule(target=unsent, incarnation=incarnations, sold=st.integers(0, 5))
    def write_a_fold(self, incarnation: UUID, sold: int) -> Write | MultipleResults[Write]:
        row = self.model.held.get(incarnation)
        return Fold(incarnation, row, min(sold, row.units)) if row else multiple()

    @rule(target=sent, write=consumes(unsent))
    def send(self, write: Write) -> Write:
        self._send(write)
        return write

    @rule(write=sent)
    def send_again(self, write: Write) -> None:
        self._send(write)

    @invariant()
    def rows_are_the_models(self) -> None:
        model = self.model
        assert model.available == sum(model.restocks.values()) - sum(row.units for row in model.held.values())
        ledger = self.runner.run(self.store.read(self.sku, Consistency.STRONG))
        assert ledger == Ledger(self.sku, StockPolicy.ESCROW, model.available, model.restocks, model.held)

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
            deadline=None,  # disks and servers take what they take
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_sqlite_does_what_the_model_does(runner: asyncio.Runner, tmp_path: Path) -> None:
    file = runner.run(SqliteFile.open(tmp_path / "stock.db"))
    try:
        _check(runner, runner.run(SqliteStore.open(file)), examples=60)
    finally:
        runner.run(file.close())


@pytest.mark.servers
def test_cassandra_does_what_the_model_does(runner: asyncio.Runner, cassandra_contact_points: str) -> None:
    store = runner.run(CassandraStore.open(cassandra_contact_points, CASSANDRA_KEYSPACE, 1, "datacenter1"))
    try:
        _check(runner, store, examples=15)
    finally:
        runner.run(store.close())
