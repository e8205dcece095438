"""One stock server sells out of one escrow to orders in three journals: as many as there are units, come what may."""

import asyncio
from collections.abc import Sequence
from random import Random
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from gateway.committing import Committing
from gateway.keepers import Keepers
from gateway.metrics import GatewayMetrics
from gateway.outcomes import Accepted, Outcome, Reason, Refused
from gateway.placing import Placing
from gateway.shards import OrderShard, OrderShards
from sluice.model import Line, NewOrder
from sluice.reachability import Reachability
from sluice.sharding import shard_of
from tests.unit.fake_journal import TIME, Fault
from tests.unit.stock_engine.parts import GRACE_S, INCARNATION, Parts
from tests.unit.virtual_time import clock, in_virtual_time

SHARDS = 3
UNITS = 100
SEEDS = 40


class Sale:
    def __init__(self) -> None:
        self.parts = Parts(shards=SHARDS)
        self.parts.store.create("a", UNITS)
        self.journals = self.parts.journals
        self.links = Keepers({"stockd-0": self.parts.engine})
        metrics = GatewayMetrics(CollectorRegistry())
        ways = []
        for number, journal in enumerate(self.journals):
            journal.shard = number
            reach = Reachability(f"journal {number}", journal.ping)
            placing = Placing(
                self.links,
                journal,  # type: ignore[arg-type]  # what placing uses of one
                Committing(journal, reach, now=lambda: TIME, connections=2),  # type: ignore[arg-type]
                reach,
                monotonic=clock,
                reserve_limit_s=1.6,
                max_orders_in_flight=10_000,
                metrics=metrics,
            )
            ways.append(OrderShard(placing, None, None, None))  # type: ignore[arg-type]
        self.ways = ways
        self.reaches = [way.placing._journal_reachability for way in ways]
        self.shards = OrderShards(ways)

    async def place(self, orders: Sequence[NewOrder]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for group in self.shards.submit(orders, clock() + 30):
            outcomes |= zip([order.order_id for order in group.orders], await group.decided(), strict=True)
        return outcomes

    def standing(self) -> set[str]:
        return {order_id for journal in self.journals for order_id in journal.orders}

    async def check_when_quiet(self) -> None:
        """What stands was sold, unit for unit, in the journal of its order; all else is back in the ledger."""
        await asyncio.sleep(2 * GRACE_S)
        for number, journal in enumerate(self.journals):
            assert {shard_of(order_id, SHARDS) for order_id in journal.orders} <= {number}
            assert {seq % SHARDS for _, seq in journal.spends} <= {number}
            assert journal.sold_by_sku().get("a", 0) == len(journal.orders) == len(set(journal.committed))
        sold = len(self.standing())
        assert self.parts.engine.units_in_doubt() == 0
        assert self.parts.engine.units_free() == 0
        assert (self.parts.store.available("a"), self.parts.store.held("a", INCARNATION)) == (UNITS - sold, sold)


def new_orders(count: int) -> list[NewOrder]:
    return [NewOrder(str(uuid4()), "anna", (Line("a", 1),)) for _ in range(count)]


def accepted(outcomes: dict[str, Outcome]) -> set[str]:
    return {order_id for order_id, outcome in outcomes.items() if isinstance(outcome, Accepted)}


@in_virtual_time
async def test_exactly_as_many_orders_are_accepted_as_there_are_units() -> None:
    sale = Sale()
    async with sale.parts.housekeeping():
        bursts = await asyncio.gather(*(sale.place(new_orders(60)) for _ in range(8)))
        outcomes = {order_id: outcome for burst in bursts for order_id, outcome in burst.items()}
        assert len(accepted(outcomes)) == UNITS
        refused = [outcome for outcome in outcomes.values() if isinstance(outcome, Refused)]
        assert {outcome.reason for outcome in refused} == {Reason.OUT_OF_STOCK}
        assert sale.standing() == accepted(outcomes)
        await sale.check_when_quiet()


@in_virtual_time
async def test_units_that_a_journal_keeps_in_doubt_are_for_sale_again_when_it_is_back() -> None:
    sale = Sale()
    async with sale.parts.housekeeping():
        sale.journals[1].answering.clear()
        outcomes = await sale.place(new_orders(90))
        sale.journals[1].answering.set()
        lost = [outcome for order_id, outcome in outcomes.items() if shard_of(order_id, SHARDS) == 1]
        assert {outcome.reason for outcome in lost if isinstance(outcome, Refused)} == {Reason.JOURNAL_UNREACHABLE}
        assert len(accepted(outcomes)) == 90 - len(lost)
        await asyncio.sleep(2 * GRACE_S)
        for reach in sale.reaches:
            reach.away = False  # as its probe would find
        await sale.place(new_orders(200))
        assert len(sale.standing()) == UNITS
        await sale.check_when_quiet()


@pytest.mark.parametrize("seed", range(SEEDS))
@in_virtual_time
async def test_whatever_answers_are_lost_who_was_told_yes_has_it_and_no_unit_is_lost(seed: int) -> None:
    sale, rng = Sale(), Random(seed)
    orders = new_orders(60)
    told: set[str] = set()
    async with sale.parts.housekeeping():
        for _ in range(6):
            for journal in sale.journals:
                journal.faults.extend(rng.choices(list(Fault), [6, 1, 1, 1], k=3))
            burst = rng.sample(orders, 20) + (new := new_orders(rng.randrange(15)))
            orders += new
            told |= accepted(await sale.place(burst))
            for reach in sale.reaches:
                reach.away = False
            await asyncio.sleep(rng.choice([0.0, 0.5, GRACE_S]))
        for journal in sale.journals:
            journal.faults.clear()
        await sale.check_when_quiet()
    assert told <= sale.standing()
    assert len(sale.standing()) <= UNITS
