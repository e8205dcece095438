"""A gateway's heart between stock servers and a journal in memory, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from prometheus_client import CollectorRegistry

from gateway.committing import Committing
from gateway.group import Group
from gateway.keepers import Keepers
from gateway.metrics import GatewayMetrics
from gateway.outcomes import Accepted, Outcome, Reason, Refused
from gateway.placing import Placing
from sluice.errors import KeeperUnreachable
from sluice.model import Line, NewOrder
from sluice.reachability import Reachability
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement, Verdict
from tests.unit.fake_journal import TIME, FakeJournal
from tests.unit.virtual_time import clock

RESERVE_LIMIT_S = 1.6


class FakeKeeper:
    """A stock server with units of its own, and no memory of who asks. While `away` it does not answer."""

    def __init__(self, number: int, journal: FakeJournal) -> None:
        self.incarnation = UUID(int=number)
        self.journal = journal
        journal.registered[self.incarnation] = False
        self.units: dict[str, int] = {}
        self.seq = 0
        self.granted: dict[int, dict[str, int]] = {}
        self.told: dict[int, dict[str, int]] = {}
        self.lies: list[str] = []
        self.asked: list[ReserveBatch] = []
        self.away = False
        self.verdict: Verdict | None = None  # for every order, if set
        self.advice: dict[str, int] = {}  # over how many servers SKUs should be spread
        self.pause_s = 0.0  # what a decision takes; asked whether it is there, it answers at once
        self.answering = asyncio.Event()
        self.answering.set()

    async def reserve(self, batch: ReserveBatch, settlements: Sequence[Settlement], timeout_s: float) -> Reservation:
        await asyncio.sleep(0)
        if self.away:
            raise KeeperUnreachable("away")
        self._tell(settlements)
        self.asked.append(batch)
        try:
            async with asyncio.timeout(timeout_s):
                await self.answering.wait()
                await asyncio.sleep(self.pause_s)
        except TimeoutError:
            raise KeeperUnreachable("no answer") from None
        granted: dict[str, int] = {}
        verdicts: list[int] = []
        blamed: list[int] = []
        first = 0
        for count in batch.lines_per_order or [1] * len(batch.sku_indexes):
            places = range(first, first + count)
            first += count
            lines = {batch.skus[batch.sku_indexes[place]]: batch.quantities[place] for place in places}
            verdict, culprit = self._decide(lines)
            verdicts.append(verdict)
            blamed.append(batch.skus.index(culprit) if culprit else 0)
            if verdict is Verdict.GRANTED:
                for sku, quantity in lines.items():
                    self.units[sku] -= quantity
                    granted[sku] = granted.get(sku, 0) + quantity
        if granted:
            self.seq += 1
            self.granted[self.seq] = granted
        refused = any(verdict != Verdict.GRANTED for verdict in verdicts)
        owners = [self.advice.get(sku, 1) for sku in batch.skus] if self.advice else []
        return Reservation(self.incarnation, self.seq if granted else 0, verdicts, blamed if refused else [], owners)

    def _decide(self, lines: Mapping[str, int]) -> tuple[Verdict, str | None]:
        if self.verdict is not None:
            return self.verdict, next(iter(lines))
        for sku, quantity in lines.items():
            if sku not in self.units:
                return Verdict.SKU_NOT_FOUND, sku
            if self.units[sku] < quantity:
                return Verdict.OUT_OF_STOCK, sku
        return Verdict.GRANTED, None

    async def settle(self, settlements: Sequence[Settlement], timeout_s: float) -> None:
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(timeout_s):
                await self.answering.wait()
        except TimeoutError:
            raise KeeperUnreachable("no answer", outcome_unknown=True) from None
        if self.away:
            raise KeeperUnreachable("away")
        self._tell(settlements)

    def _tell(self, settlements: Sequence[Settlement]) -> None:
        """What is told must be what the journal's row says, at the moment it is told and for ever."""
        for incarnation, seq, sold in settlements:
            if incarnation != self.incarnation:
                continue
            row = self.journal.spends.get((incarnation, seq))
            if row != dict(sold):
                self.lies.append(f"told {dict(sold)} of {seq}, and the journal says {row}")
            self.told[seq] = dict(sold)


class Parts:
    """`keepers` by name and `journal` are the test's to break."""

    def __init__(self, names: Sequence[str] = ("stockd-0",), max_orders_in_flight: int = 1_000, shard: int = 0) -> None:
        self.journal = FakeJournal()
        self.journal.shard = shard
        self.keepers = {name: FakeKeeper(number, self.journal) for number, name in enumerate(names, start=1)}
        self.links = Keepers(self.keepers)
        self.registry = CollectorRegistry()
        self.reachability = Reachability("journal", self.journal.ping)
        self.committing = Committing(self.journal, self.reachability, now=lambda: TIME, connections=2)  # type: ignore[arg-type]
        self.placing = Placing(
            self.links,
            self.journal,  # type: ignore[arg-type]  # what placing uses of one
            self.committing,
            self.reachability,
            monotonic=clock,
            reserve_limit_s=RESERVE_LIMIT_S,
            max_orders_in_flight=max_orders_in_flight,
            metrics=GatewayMetrics(self.registry),
        )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """The servers are asked all the while whether they answer."""
        task = asyncio.create_task(self.links.watch())
        try:
            yield
        finally:
            task.cancel()

    def stock(self, units: Mapping[str, int]) -> None:
        """On every server: each holds an escrow of its own."""
        for keeper in self.keepers.values():
            keeper.units.update(units)

    def owner(self, sku: str) -> FakeKeeper:
        return self.keepers[self.links.owner_of(sku).name]

    def sku_of(self, name: str) -> str:
        """A SKU whose best-ranked server is `name`."""
        return next(sku for sku in (f"sku-{n}" for n in range(1_000)) if self.links.owner_of(sku).name == name)

    def submit(self, *orders: NewOrder, within_s: float = 10.0) -> list[Group]:
        return self.placing.submit(orders, clock() + within_s)

    async def place(self, *orders: NewOrder, within_s: float = 10.0) -> dict[str, Outcome]:
        """One outcome per order, by id."""
        outcomes: dict[str, Outcome] = {}
        for group in self.submit(*orders, within_s=within_s):
            for order, outcome in zip(group.orders, await group.decided(), strict=True):
                outcomes[order.order_id] = outcome
        return outcomes

    async def place_one(self, order: NewOrder) -> Outcome:
        return (await self.place(order))[order.order_id]

    async def check_quiet(self) -> None:
        """Every order that stands was written once; each reservation sold what the orders say and told what it sold."""
        await self.placing.idle()
        await asyncio.sleep(5)
        assert self.placing.orders_in_flight == 0
        assert len(self.journal.committed) == len(set(self.journal.committed)) == len(self.journal.orders)
        ordered: dict[str, int] = {}
        for order in self.journal.orders.values():
            for sku, quantity in order.lines:
                ordered[sku] = ordered.get(sku, 0) + quantity
        assert {sku: units for sku, units in self.journal.sold_by_sku().items() if units} == ordered
        for keeper in self.keepers.values():
            assert keeper.lies == []
            for seq, granted in keeper.granted.items():
                for sku, units in self.journal.spends.get((keeper.incarnation, seq), {}).items():
                    assert units <= granted.get(sku, 0), "sold what was not reserved"

    def close(self) -> None:
        self.links.close()


def order(number: int, lines: Mapping[str, int] | None = None, customer: str = "anna") -> NewOrder:
    return NewOrder(
        str(UUID(int=number)), customer, tuple(sorted(Line(sku, count) for sku, count in (lines or {"a": 1}).items()))
    )


def is_new(outcome: Outcome) -> bool:
    return isinstance(outcome, Accepted) and not outcome.replayed


def is_replay(outcome: Outcome) -> bool:
    return isinstance(outcome, Accepted) and outcome.replayed


def reason(outcome: Outcome) -> Reason | None:
    return outcome.reason if isinstance(outcome, Refused) else None
