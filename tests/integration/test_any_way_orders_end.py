"""Whatever ends orders in whatever order, with answers lost, gateways that die between two steps and stock servers that
die or live on as zombies: orders move as their states allow, a hold ends once, and no unit is lost or made.

The journal, the ledger, the stock servers and what changes orders are the real ones; only the wires are the test's.
"""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from audit.running import run_audit
from gateway.changing import CANCEL, CONFIRM, Change, Changing, NotAllowed
from gateway.keepers import KeeperLink
from gateway.metrics import GatewayMetrics
from gateway.outcomes import Refused
from journal.embedded_log import EmbeddedLog
from journal.events import encode_order_events
from journal.protocol import Batch, Committed, Journal, Spend
from journal.sqlite import SqliteJournal
from orders.expiring import expire
from sluice.errors import JournalUnreachable, KeeperUnreachable
from sluice.model import HOLDS_UNITS, Line, NewOrder, Order, OrderState, StockPolicy, units_by_sku
from sluice.reachability import Reachability
from sluice.seams.event_log import LoggedEvent
from sluice.seams.stock_keeper import ReserveBatch, Settlement, StockKeeper
from sluice.seams.stock_store import Consistency
from sluice.sqlite_file import SqliteFile
from stockd.engine import Engine
from stockd.metrics import StockdMetrics
from stockd.reclaim import fold, held_rows
from stockd.stores.sqlite import SqliteStore
from tests.journals import new_postgres_journal

SKUS = ("a", "b")
UNITS = 6
SERVERS = ("stockd-0", "stockd-1")
NOW = datetime(2020, 2, 29, 12, tzinfo=UTC)
"""Long ago by the database's clock: every hold is over."""

HOLD = timedelta(minutes=5)

MAY_FOLLOW = {
    OrderState.CREATED: {OrderState.CANCELLED},
    OrderState.HELD: {OrderState.CONFIRMED, OrderState.CANCELLED, OrderState.EXPIRED},
    OrderState.CONFIRMED: {OrderState.CANCELLED},
    OrderState.CANCELLED: set(),
    OrderState.EXPIRED: set(),
}


class Wire:
    """A journal whose next answers to a change of orders may be lost, after it was made or before."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.losses: deque[str] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def transition(self, batch: Any) -> Any:
        loss = self.losses.popleft() if self.losses else ""
        if loss == "request":
            raise JournalUnreachable("lost", outcome_unknown=True)
        result = await self._journal.transition(batch)
        if loss == "answer":
            raise JournalUnreachable("lost", outcome_unknown=True)
        return result


class Ear:
    """The wire to a stock server: what it is told of may get lost; the journal knows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.deaf = False

    async def reserve_return(self, units: Mapping[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        return await self._engine.reserve_return(units, shard, timeout_s)

    async def settle(self, settlements: Sequence[Settlement], timeout_s: float) -> None:
        if not self.deaf:
            await self._engine.settle(settlements, timeout_s)


class Servers:
    """Which stock server takes units back now; the test chooses, zombies included."""

    def __init__(self) -> None:
        self.links: list[KeeperLink] = []
        self.first = 0

    def owner_of(self, sku: str) -> KeeperLink:
        turned = [*self.links[self.first :], *self.links[: self.first]]
        return next((link for link in turned if not link.away), turned[0])


class NoLog:
    async def read(self, topic: str, *, follow: bool) -> AsyncIterator[LoggedEvent]:
        return
        yield

    async def read_pages(self, topics: Sequence[str]) -> AsyncIterator[Iterator[LoggedEvent]]:
        return
        yield


class Started(NamedTuple):
    engine: Engine
    ear: Ear
    link: KeeperLink


class World:
    """Everything of one example."""

    def __init__(self, journal: Journal, store: SqliteStore) -> None:
        self.journal = journal
        self.wire: Any = Wire(journal)
        self.store = store
        self.servers = Servers()
        self.running: dict[str, Started] = {}
        metrics = GatewayMetrics(CollectorRegistry())
        self.reachability = Reachability("journal", journal.ping)
        self.changing = {
            change: Changing(change, self.wire, self.servers, self.reachability, now=lambda: NOW, metrics=metrics)
            for change in (CONFIRM, CANCEL)
        }

    async def start(self, name: str) -> None:
        """The one before is fenced; it may live on as a zombie."""
        incarnation = uuid4()
        await self.journal.register(name, incarnation, NOW)
        engine = Engine(
            incarnation=incarnation,
            store=self.store,
            journal=self.journal,
            monotonic=time.monotonic,
            reservation_grace_s=0.0,
            store_timeout_s=5.0,
            max_waiting_orders=100,
            owners=1,
            cpu_s=lambda: 0.0,
            metrics=StockdMetrics(CollectorRegistry()),
        )
        ear = Ear(engine)
        link = KeeperLink(name, cast(StockKeeper, ear))
        self.running[name] = Started(engine, ear, link)
        self.servers.links.append(link)

    async def place(self, name: str, order: NewOrder) -> bool:
        engine, _, link = self.running[name]
        batch = ReserveBatch([sku for sku, _ in order.lines], [len(order.lines)], range(len(order.lines)), [
            quantity for _, quantity in order.lines
        ])  # fmt: skip
        granted = await engine.reserve(batch, (), 5.0)
        if not granted.seq:
            return False
        sold = units_by_sku([order])
        events, count = encode_order_events([order], NOW)
        spends = [Spend(granted.incarnation, granted.seq, sold)]
        assert await self.journal.commit(Batch([order], spends, events, count, NOW)) == Committed()
        link.settle(Settlement(granted.incarnation, granted.seq, sold))
        return True

    async def orders(self) -> dict[str, Order]:
        return {order.order_id: order async for page in self.journal.scan_orders() for order in page}

    async def come_to_rest(self) -> None:
        for engine, *_ in self.running.values():
            await engine.drain(5.0)
        alive = {engine.incarnation for engine, *_ in self.running.values()}
        for row in await self.journal.incarnations():
            assert row.fenced == (row.incarnation not in alive)
            if row.fenced:
                async for _ in fold(await held_rows(row.incarnation, self.journal, self.store), self.store):
                    pass


class AnyEnd(RuleBasedStateMachine):
    views = Bundle("views")

    def __init__(self, runner: asyncio.Runner, journal_url: str | None) -> None:
        super().__init__()
        self.runner = runner
        self.stack = AsyncExitStack()
        self.world: World = runner.run(self._open(journal_url))
        self.seen: dict[str, Order] = {}

    async def _open(self, journal_url: str | None) -> World:
        directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        file = await SqliteFile.open(directory / "sluice.db")
        self.stack.push_async_callback(file.close)
        store = await SqliteStore.open(file)
        if journal_url is None:
            journal: Journal = await SqliteJournal.open(file)
        else:
            journal = await self.stack.enter_async_context(new_postgres_journal(journal_url))
        for sku in SKUS:
            await store.create_sku(sku, StockPolicy.EXACT)
            await store.restock(sku, uuid4(), UNITS)
        world = World(journal, store)
        for name in SERVERS:
            await world.start(name)
        return world

    @rule(
        server=st.sampled_from(SERVERS),
        lines=st.dictionaries(st.sampled_from(SKUS), st.integers(1, 3), min_size=1),
        hold=st.sampled_from([HOLD, HOLD, None]),
    )
    def place(self, server: str, lines: Mapping[str, int], hold: timedelta | None) -> None:
        order = NewOrder(str(uuid4()), "anna", tuple(Line(sku, lines[sku]) for sku in sorted(lines)), hold)
        self.runner.run(self.world.place(server, order))

    @rule(change=st.sampled_from([CONFIRM, CANCEL]), places=st.lists(st.integers(0, 9), min_size=1, max_size=4))
    def change_together(self, change: Change, places: list[int]) -> None:
        self._at_once([(change, place) for place in places])

    @rule(changes=st.lists(st.tuples(st.sampled_from([CONFIRM, CANCEL]), st.integers(0, 9)), min_size=2, max_size=6))
    def change_this_way_and_that(self, changes: list[tuple[Change, int]]) -> None:
        self._at_once(changes)

    def _at_once(self, changes: list[tuple[Change, int]]) -> None:
        ids = sorted(self.seen)
        chosen = [(change, ids[place % len(ids)]) for change, place in changes] if ids else []

        async def ask() -> list[Any]:
            self.world.reachability.away = False
            return await asyncio.gather(*(self.world.changing[change].change(each) for change, each in chosen))

        for (change, order_id), outcome in zip(chosen, self.runner.run(ask()), strict=True):
            if isinstance(outcome, Order):
                assert (outcome.order_id, outcome.state) == (order_id, change.state)
            elif isinstance(outcome, NotAllowed):
                assert outcome.order.state not in change.leaves | {change.state}
            else:
                assert isinstance(outcome, Refused)

    @rule(target=views)
    def the_expirer_looks(self) -> list[Order]:
        async def due() -> list[Order]:
            async with self.world.journal.lease_holds() as lease:
                assert lease is not None
                return list(await lease.due_holds(100))

        due_holds = self.runner.run(due())
        held = {order.order_id for order in self.seen.values() if order.state is OrderState.HELD}
        assert {order.order_id for order in due_holds} == held
        return due_holds

    @rule(view=views)
    def the_expirer_acts_perhaps_late(self, view: list[Order]) -> None:
        if not view:
            return

        async def act() -> None:
            with suppress(JournalUnreachable, KeeperUnreachable):  # it will look again
                await expire(view, self.world.wire, self.world.servers, lambda: NOW)

        self.runner.run(act())

    @rule(losses=st.lists(st.sampled_from(["request", "answer"]), min_size=1, max_size=2))
    def answers_will_be_lost(self, losses: list[str]) -> None:
        self.world.wire.losses.extend(losses)

    @rule(server=st.sampled_from(SERVERS), sku=st.sampled_from(SKUS), units=st.integers(1, 3))
    def a_gateway_dies_before_orders_end(self, server: str, sku: str, units: int) -> None:
        self.runner.run(self.world.running[server].engine.reserve_return({sku: units}, 0, 1.0))

    @rule(server=st.sampled_from(SERVERS), deaf=st.booleans())
    def a_server_is_not_told(self, server: str, deaf: bool) -> None:
        self.world.running[server].ear.deaf = deaf

    @rule(server=st.sampled_from(SERVERS))
    def the_grace_is_over(self, server: str) -> None:
        self.runner.run(self.world.running[server].engine.close_overdue())

    @rule(server=st.sampled_from(SERVERS), first=st.integers(0, 5))
    def a_server_starts_again(self, server: str, first: int) -> None:
        async def start() -> None:
            await self.world.start(server)
            await self.world.come_to_rest() if first == 5 else None
            self.world.servers.first = first % len(self.world.servers.links)

        self.runner.run(start())

    @rule(first=st.integers(0, 5))
    def units_go_elsewhere(self, first: int) -> None:
        self.world.servers.first = first % len(self.world.servers.links)

    @invariant()
    def orders_move_as_their_states_allow(self) -> None:
        now = self.runner.run(self.world.orders())
        for order_id, order in now.items():
            before = self.seen.get(order_id, order._replace(version=1))
            if order.version == before.version:
                assert order == before
            elif order.version == before.version + 1:
                assert order.state in MAY_FOLLOW[before.state]
            else:
                assert order.version == before.version + 2
                assert (before.state, order.state) == (OrderState.HELD, OrderState.CANCELLED)
            assert bool(order.reason) == (order.state not in HOLDS_UNITS)
        assert self.seen.keys() <= now.keys()
        self.seen = now

    @invariant()
    def what_is_sold_is_what_orders_have(self) -> None:
        spends = self.runner.run(self.world.journal.all_spends())
        have = units_by_sku([order for order in self.seen.values() if order.state in HOLDS_UNITS])
        for sku in SKUS:
            sold = sum(units.get(sku, 0) for units in spends.values())
            assert sold == have.get(sku, 0) <= UNITS

    def teardown(self) -> None:
        try:
            self.runner.run(self._check_at_rest())
        finally:
            self.runner.run(self.stack.aclose())

    async def _check_at_rest(self) -> None:
        self.world.wire.losses.clear()
        await asyncio.sleep(0.01)  # settlements are told within a millisecond
        await self.world.come_to_rest()
        journal = self.world.journal
        log: Any = EmbeddedLog(journal) if isinstance(journal, SqliteJournal) else NoLog()
        report = await run_audit(journal, self.world.store, log)
        assert report.findings == []
        assert report.held == []


async def test_units_that_came_back_to_a_server_that_never_took_any_and_died_untold_are_folded(tmp_path: Path) -> None:
    file = await SqliteFile.open(tmp_path / "sluice.db")
    store = await SqliteStore.open(file)
    await store.create_sku("a", StockPolicy.EXACT)
    await store.restock("a", uuid4(), UNITS)
    world = World(await SqliteJournal.open(file), store)
    for name in SERVERS:
        await world.start(name)
    order = NewOrder(str(uuid4()), "anna", (Line("a", 4),), HOLD)
    assert await world.place("stockd-0", order)
    world.servers.first = 1
    world.running["stockd-1"].ear.deaf = True
    assert isinstance(await world.changing[CANCEL].change(order.order_id), Order)
    await asyncio.sleep(0.01)
    await world.start("stockd-1")
    await world.come_to_rest()
    ledger = await store.read("a", Consistency.STRONG)
    assert ledger is not None
    assert ledger.available == UNITS
    await file.close()


def _check(runner: asyncio.Runner, journal_url: str | None, examples: int) -> None:
    run_state_machine_as_test(
        lambda: AnyEnd(runner, journal_url),
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_with_the_journal_in_sqlite(runner: asyncio.Runner) -> None:
    _check(runner, None, examples=60)


@pytest.mark.servers
def test_with_the_journal_in_postgresql(runner: asyncio.Runner, postgres_url: str) -> None:
    _check(runner, postgres_url, examples=10)
