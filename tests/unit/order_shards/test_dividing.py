"""Orders of one request, in two journals: each is decided by its own, and by nothing that the other one does."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from gateway.outcomes import Outcome, Reason
from gateway.shards import OrderShard, OrderShards, share_of
from sluice.model import Line, NewOrder
from sluice.sharding import shard_of
from tests.unit.order_placing.parts import Parts, is_new, is_replay, reason
from tests.unit.virtual_time import clock, in_virtual_time

SHARDS = 2


class Halves:
    """Two ways into two journals."""

    def __init__(self, max_orders_in_flight: int = 1_000) -> None:
        self.parts = [Parts(max_orders_in_flight=max_orders_in_flight, shard=number) for number in range(SHARDS)]
        for parts in self.parts:
            parts.stock({"a": 1_000})
        nothing_else = (None, None, None)
        self.shards = OrderShards([OrderShard(parts.placing, *nothing_else) for parts in self.parts])  # type: ignore[arg-type]

    async def place(self, orders: Sequence[NewOrder]) -> dict[str, Outcome]:
        groups = self.shards.submit(orders, clock() + 10)
        return {
            order.order_id: outcome
            for group in groups
            for order, outcome in zip(group.orders, await group.decided(), strict=True)
        }


def new_orders(count: int) -> list[NewOrder]:
    return [NewOrder(str(uuid4()), "anna", (Line("a", 1),)) for _ in range(count)]


def number_of(order_id: str) -> int:
    return shard_of(order_id, SHARDS)


@in_virtual_time
async def test_each_order_stands_in_the_journal_that_its_id_picks() -> None:
    halves, orders = Halves(), new_orders(60)
    outcomes = await halves.place(orders)
    assert outcomes.keys() == {order.order_id for order in orders}
    assert all(map(is_new, outcomes.values()))
    for number, parts in enumerate(halves.parts):
        assert parts.journal.orders.keys() == {each for each in outcomes if number_of(each) == number}
        assert {batch.shard for batch in parts.keepers["stockd-0"].asked} == {number}
        await parts.check_quiet()


@in_virtual_time
async def test_a_repeat_is_answered_by_the_journal_that_has_the_order() -> None:
    halves, orders = Halves(), new_orders(20)
    await halves.place(orders)
    again = await halves.place(orders[::-1])
    assert all(map(is_replay, again.values()))


@in_virtual_time
async def test_a_journal_that_is_away_refuses_its_own_orders_only() -> None:
    halves, orders = Halves(), new_orders(60)
    halves.parts[1].journal.away = True
    outcomes = await halves.place(orders)
    for order_id, outcome in outcomes.items():
        if number_of(order_id) == 1:
            assert reason(outcome) is Reason.JOURNAL_UNREACHABLE
        else:
            assert is_new(outcome)


@in_virtual_time
async def test_a_journal_that_does_not_answer_holds_up_its_own_orders_only() -> None:
    halves, orders = Halves(), new_orders(60)
    halves.parts[1].journal.answering.clear()
    groups = halves.shards.submit(orders, clock() + 10)
    began = clock()
    for group in groups:
        if number_of(group.orders[0].order_id) == 0:
            assert all(map(is_new, await group.decided()))
    assert clock() - began < 0.1
    assert halves.shards.orders_in_flight == sum(number_of(each.order_id) == 1 for each in orders)
    halves.parts[1].journal.answering.set()
    await asyncio.gather(*(group.decided() for group in groups))


@in_virtual_time
async def test_where_too_many_orders_are_being_decided_others_are_not_refused() -> None:
    halves = Halves(max_orders_in_flight=30)
    orders = new_orders(400)
    few = [order for order in orders if number_of(order.order_id) == 0][:30]
    many = [order for order in orders if number_of(order.order_id) == 1][:31]
    outcomes = await halves.place([*few, *many])
    assert all(is_new(outcomes[order.order_id]) for order in few)
    assert {reason(outcomes[order.order_id]) for order in many} == {Reason.OVERLOADED}


def test_shares_of_a_limit_are_together_at_least_the_limit() -> None:
    assert [share_of(20_000, 1), share_of(20_000, 4), share_of(10, 4), share_of(1, 4)] == [20_000, 5_000, 3, 1]
