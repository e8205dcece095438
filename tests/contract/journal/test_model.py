"""Commit, close, fence, register and roll up in any order: each answer and every sum is what a plain model says."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from journal.postgres import PostgresJournal
from journal.protocol import (
    Batch,
    CommitResult,
    Committed,
    IncarnationFenced,
    IncarnationsFenced,
    Journal,
    OrdersExist,
    ReservationsClosed,
    Spend,
)
from sluice.model import NewOrder
from tests.contract.journal.standing import standing
from tests.journals import NOW, new_order, new_postgres_database, new_sqlite_journal

SKUS = ("tea", "cup", "pot")
NAMES = ("stockd-0", "stockd-1")
POOL = 8
SEQS = st.integers(1, 6)
UNITS = st.dictionaries(st.sampled_from(SKUS), st.integers(-3, 5), max_size=3)


class Known(NamedTuple):
    name: str
    incarnation: UUID


class JournalMachine(RuleBasedStateMachine):
    """The subclass of each implementation says how to open an empty journal."""

    incarnations = Bundle("incarnations")

    def open(self) -> AbstractAsyncContextManager[Journal]:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.opened = self.open()
        self.journal = self.loop.run_until_complete(self.opened.__aenter__())
        self.pool = [new_order({SKUS[n % 3]: n + 1}) for n in range(POOL)]
        self.orders: dict[str, NewOrder] = {}
        self.names: dict[UUID, str] = {}
        self.fenced: set[UUID] = set()
        self.rows: dict[tuple[UUID, int], dict[str, int]] = {}
        self.through: dict[UUID, int] = {}
        self.batches: list[bytes] = []

    def run(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def expected(self, batch: Batch) -> CommitResult:
        if fenced := {
            s.incarnation for s in batch.spends if s.incarnation in self.fenced or s.incarnation not in self.names
        }:
            return IncarnationsFenced(frozenset(fenced))
        if standing_ids := [order.order_id for order in batch.orders if order.order_id in self.orders]:
            return OrdersExist(dict.fromkeys(standing_ids))  # type: ignore[arg-type]
        if closed := {spend[:2]: self.rows[spend[:2]] for spend in batch.spends if spend[:2] in self.rows}:
            return ReservationsClosed(closed)
        return Committed()

    def sums(self, incarnation: UUID) -> dict[str, int]:
        sums: dict[str, int] = {}
        for (owner, _), units in self.rows.items():
            if owner == incarnation:
                for sku, count in units.items():
                    sums[sku] = sums.get(sku, 0) + count
        return sums

    @initialize(target=incarnations)
    def first_start(self) -> Known:
        return self.start(NAMES[0])

    def start(self, name: str) -> Known:
        incarnation = uuid4()
        before = {other for other, its_name in self.names.items() if its_name == name}
        assert set(self.run(self.journal.register(name, incarnation, NOW))) == before
        self.fenced |= before
        self.names[incarnation] = name
        self.through[incarnation] = 0
        return Known(name, incarnation)

    @rule(target=incarnations, name=st.sampled_from(NAMES))
    def start_another(self, name: str) -> Known:
        return self.start(name)

    @rule(target=incarnations)
    def meet_an_unregistered_one(self) -> Known:
        return Known(NAMES[0], uuid4())

    @rule(known=incarnations)
    def register_again(self, known: Known) -> None:
        if known.incarnation not in self.names:
            return
        if known.incarnation in self.fenced:
            with pytest.raises(IncarnationFenced):
                self.run(self.journal.register(known.name, known.incarnation, NOW))
        else:
            self.run(self.journal.register(known.name, known.incarnation, NOW))

    @rule(known=incarnations)
    def fence(self, known: Known) -> None:
        newly = known.incarnation in self.names and known.incarnation not in self.fenced
        assert self.run(self.journal.fence(known.incarnation)) == newly
        if known.incarnation in self.names:
            self.fenced.add(known.incarnation)

    @rule(
        chosen=st.sets(st.integers(0, POOL - 1), max_size=4),
        spends=st.lists(st.tuples(incarnations, SEQS, UNITS), max_size=3, unique_by=lambda s: (s[0].incarnation, s[1])),
        event_count=st.integers(0, 2),
    )
    def commit(self, chosen: set[int], spends: list[tuple[Known, int, dict[str, int]]], event_count: int) -> None:
        batch = Batch(
            [self.pool[n] for n in chosen],
            [Spend(known.incarnation, seq, units) for known, seq, units in spends],
            b"\x00" * event_count,
            event_count,
            NOW,
        )
        expected = self.expected(batch)
        result = self.run(self.journal.commit(batch))
        if isinstance(expected, OrdersExist):
            assert isinstance(result, OrdersExist)
            assert set(result.orders) == set(expected.orders)
        else:
            assert result == expected
        if result == Committed():
            self.orders.update((order.order_id, order) for order in batch.orders)
            self.rows.update((spend[:2], dict(spend.units)) for spend in batch.spends)
            if event_count:
                self.batches.append(batch.events)

    @rule(known=incarnations, seqs=st.sets(SEQS, max_size=4))
    def close_reservations(self, known: Known, seqs: set[int]) -> None:
        wanted = {seq: self.rows.setdefault((known.incarnation, seq), {}) for seq in seqs}
        assert self.run(self.journal.close_reservations(known.incarnation, list(seqs), NOW)) == wanted

    @rule(known=incarnations)
    def roll_up(self, known: Known) -> None:
        before = self.through.get(known.incarnation)
        added = self.run(self.journal.roll_up(known.incarnation))
        if before is None:
            assert added == 0
            return
        until = before
        while (known.incarnation, until + 1) in self.rows:
            until += 1
        assert added == until - before
        self.through[known.incarnation] = until

    @rule(known=incarnations)
    def read_spent(self, known: Known) -> None:
        assert self.run(self.journal.spent(known.incarnation)) == self.sums(known.incarnation)

    def teardown(self) -> None:
        try:
            self.compare_everything()
        finally:
            self.run(self.opened.__aexit__(None, None, None))
            self.loop.close()

    def compare_everything(self) -> None:
        found = self.run(standing(self.journal))
        assert {i: (order.customer_id, order.lines) for i, order in found.orders.items()} == {
            i: (order.customer_id, order.lines) for i, order in self.orders.items()
        }
        owners = {owner for owner, _ in self.rows}
        assert found.spends == {owner: sums for owner in owners if (sums := self.sums(owner))}
        assert [row.events for row in found.outbox] == self.batches
        registered: dict[str, int] = {}
        for incarnation in self.names:
            for sku, units in self.sums(incarnation).items():
                registered[sku] = registered.get(sku, 0) + units
        assert self.run(self.journal.sold(SKUS)) == registered
        known = {row.incarnation: (row.name, row.fenced) for row in self.run(self.journal.incarnations())}
        assert known == {i: (name, i in self.fenced) for i, name in self.names.items()}


class SqliteMachine(JournalMachine):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[Journal]:
        with tempfile.TemporaryDirectory(prefix="sluice-model-") as directory:
            async with new_sqlite_journal(Path(directory)) as journal:
                yield journal


def test_sqlite_follows_the_model() -> None:
    run_state_machine_as_test(
        SqliteMachine,
        settings=settings(max_examples=60, stateful_step_count=30, suppress_health_check=list(HealthCheck)),
    )


@pytest.mark.servers
def test_postgres_follows_the_model(postgres_url: str) -> None:
    """One database for all examples, emptied before each: making one takes longer than an example."""
    with asyncio.Runner() as runner:
        made = new_postgres_database(postgres_url)
        url = runner.run(made.__aenter__())

        class PostgresMachine(JournalMachine):
            @asynccontextmanager
            async def open(self) -> AsyncIterator[Journal]:
                journal = await PostgresJournal.open(url, timeout_s=30)
                connection = await asyncpg.connect(url)
                await connection.execute(
                    "TRUNCATE orders, incarnations, heartbeats, reclaims, spends, spend_roll_ups, spend_totals, outbox;"
                    "UPDATE outbox_numbers SET next = 1"
                )
                await connection.close()
                yield journal
                await journal.close()

        try:
            run_state_machine_as_test(
                PostgresMachine,
                settings=settings(max_examples=15, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
            )
        finally:
            runner.run(made.__aexit__(None, None, None))
