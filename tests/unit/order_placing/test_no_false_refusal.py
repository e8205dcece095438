"""Whoever hears "out of stock" could not have been served: when all is quiet, less is left than the order wanted.

Real stock servers and a real gateway in virtual time, on a ledger and a journal in memory. Orders come in messages one
after the other: new ones, ones that stand already, and those of a customer who may have no more.
"""

import asyncio
from collections import Counter
from random import Random
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from gateway.committing import Committing
from gateway.keepers import Keepers
from gateway.metrics import GatewayMetrics
from gateway.outcomes import Outcome, Reason, Refused
from gateway.placing import Placing
from journal.protocol import Batch, CommitResult
from sluice.model import NewOrder, StockPolicy
from sluice.reachability import Reachability
from tests.unit.fake_journal import TIME, FakeJournal
from tests.unit.order_placing.parts import is_new, order
from tests.unit.stock_engine.parts import GRACE_S, INCARNATION, Parts
from tests.unit.virtual_time import clock, in_virtual_time

SEEDS = 60
SKUS = ("a", "b", "c", "d")
GREEDY = "greedy"
LIMIT = 2


class SlowJournal(FakeJournal):
    """Takes up to 10 ms for a commit, so that orders of several messages are in doubt at a time."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng

    async def commit(self, batch: Batch) -> CommitResult:
        await asyncio.sleep(self._rng.uniform(0.0, 0.01))
        return await super().commit(batch)


class Sale:
    def __init__(self, rng: Random, servers: int, policy: StockPolicy) -> None:
        self.rng = rng
        self.journal = SlowJournal(rng)
        first = Parts()
        self.store = first.store
        self.stock = {sku: rng.randint(0, 12) for sku in SKUS}
        for sku, units in self.stock.items():
            self.store.create(sku, units, policy)
            self.journal.limits[sku] = LIMIT
        others = [Parts(store=self.store, incarnation=UUID(int=200 + number)) for number in range(1, servers)]
        self.engines = [parts.engine for parts in (first, *others)]
        for engine in self.engines:
            self.journal.registered[engine.incarnation] = False
            engine._journal = self.journal  # type: ignore[assignment]
        assert self.engines[0].incarnation == INCARNATION
        reach = Reachability("journal", self.journal.ping)
        self.links = Keepers({f"stockd-{number}": engine for number, engine in enumerate(self.engines)})
        self.placing = Placing(
            self.links,
            self.journal,  # type: ignore[arg-type]  # what placing uses of one
            Committing(self.journal, reach, now=lambda: TIME, connections=2),  # type: ignore[arg-type]
            reach,
            monotonic=clock,
            reserve_limit_s=30.0,
            max_orders_in_flight=10_000,
            metrics=GatewayMetrics(CollectorRegistry()),
        )
        self.made = 0
        self.outcomes: list[tuple[NewOrder, Outcome]] = []

    def message(self) -> list[NewOrder]:
        orders = {}
        for _ in range(self.rng.randint(1, 12)):
            standing = [each for each, outcome in self.outcomes if is_new(outcome)]
            if standing and self.rng.random() < 0.3:
                each = self.rng.choice(standing)
            else:
                self.made += 1
                customer = GREEDY if self.rng.random() < 0.4 else f"customer-{self.made}"
                skus = self.rng.sample(SKUS, self.rng.choice((1, 1, 1, 2)))
                each = order(self.made, {sku: self.rng.randint(1, 2) for sku in skus}, customer)
            orders[each.order_id] = each
        return list(orders.values())

    async def place(self, orders: list[NewOrder]) -> None:
        for group in self.placing.submit(orders, clock() + 60):
            self.outcomes += zip(group.orders, await group.decided(), strict=True)

    def left(self) -> Counter[str]:
        left = Counter(self.stock)
        for each in self.journal.orders.values():
            left.subtract({line.sku: line.quantity for line in each.lines})
        return left


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("policy", StockPolicy)
def test_who_hears_out_of_stock_could_not_have_been_served(policy: StockPolicy, servers: int) -> None:
    for seed in range(SEEDS):
        _sell(seed, servers, policy)


@in_virtual_time
async def _sell(seed: int, servers: int, policy: StockPolicy) -> None:
    rng = Random(seed)
    sale = Sale(rng, servers, policy)
    messages = []
    for _ in range(rng.randint(2, 6)):
        messages.append(asyncio.create_task(sale.place(sale.message())))
        await asyncio.sleep(rng.uniform(0.0, 0.02))
    await asyncio.gather(*messages)
    await sale.placing.idle()
    await asyncio.sleep(2 * GRACE_S)
    left = sale.left()
    assert all(units >= 0 for units in left.values()), f"seed {seed}: oversold"
    for each, outcome in sale.outcomes:
        if not isinstance(outcome, Refused):
            continue
        assert outcome.reason in (Reason.OUT_OF_STOCK, Reason.CUSTOMER_LIMIT), f"seed {seed}: {outcome}"
        if outcome.reason is Reason.OUT_OF_STOCK:
            wanted = next(line.quantity for line in each.lines if line.sku == outcome.subject)
            assert left[outcome.subject] < wanted, f"seed {seed}: {outcome} wanted {wanted}, and {left} are left"
    sale.links.close()
