"""What was sold beyond the stock is cancelled, exactly, in the order that was asked for; nobody else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.compensation import Compensation, compensate, excess_of
from journal.protocol import Transition
from journal.tallies import Victims
from sluice.model import OrderState, StockPolicy
from tests.unit.compensation.parts import Shop, one_each, open_shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as opened:
        await opened.create("hot", 5)
        yield opened


async def test_the_first_orders_on_the_log_keep_their_units(shop: Shop) -> None:
    ids = await shop.place(*one_each(4)) + await shop.place(*one_each(4))
    await shop.deliver(shop.compensation())
    assert await shop.oversold() == ids[5:]
    assert await shop.sold("hot") == 5


async def test_within_the_stock_nobody_goes(shop: Shop) -> None:
    await shop.place(*one_each(5))
    await shop.deliver(shop.compensation())
    assert await shop.oversold() == []


async def test_other_policies_are_left_alone(shop: Shop) -> None:
    await shop.create("escrowed", 1, StockPolicy.ESCROW)
    await shop.place(*one_each(3, "escrowed"))
    await shop.deliver(shop.compensation())
    assert await shop.oversold() == []
    assert await shop.tallies.skus() == []


async def test_the_smallest_go_first_if_asked_for(shop: Shop) -> None:
    big, small, middle = await shop.place({"hot": 4}, {"hot": 1}, {"hot": 2})
    await shop.deliver(shop.compensation(Victims.SMALLEST_FIRST))
    assert await shop.oversold() == [small, middle]
    assert (await shop.orders())[big].state is OrderState.CREATED


async def test_the_lowest_priority_goes_first_if_asked_for_whenever_it_came(shop: Shop) -> None:
    early = await shop.place(*one_each(3))
    members = await shop.place(*one_each(3), priority=10)
    late = await shop.place(*one_each(2))
    await shop.deliver(shop.compensation(Victims.LOWEST_PRIORITY_FIRST))
    assert await shop.oversold() == [early[2], *late]
    more = await shop.place(*one_each(4), priority=10)
    await shop.deliver(shop.compensation(Victims.LOWEST_PRIORITY_FIRST))
    assert await shop.oversold() == [*early, *late, *more[2:]]
    assert not set(members) & set(await shop.oversold())


async def test_a_priority_matters_to_no_other_rule(shop: Shop) -> None:
    await shop.place(*one_each(5))
    (newest,) = await shop.place({"hot": 1}, priority=1_000)
    await shop.deliver(shop.compensation(Victims.NEWEST_FIRST))
    assert await shop.oversold() == [newest]


async def test_a_cart_gives_back_all_its_lines(shop: Shop) -> None:
    await shop.create("other", 10, StockPolicy.ESCROW)
    await shop.place(*one_each(5))
    await shop.place({"hot": 1, "other": 3})
    await shop.deliver(shop.compensation())
    assert await shop.sold("other") == 0


async def test_a_restock_is_seen_when_it_is_decided(shop: Shop) -> None:
    await shop.place(*one_each(7))
    await shop.restock("hot", 1)
    await shop.deliver(shop.compensation())
    assert len(await shop.oversold()) == 1


async def test_confirmed_orders_go_too(shop: Shop) -> None:
    ids = await shop.place(*one_each(6))
    newest = (await shop.orders())[ids[-1]]
    await shop.move([Transition(newest, OrderState.CONFIRMED)])
    await shop.deliver(shop.compensation())
    assert await shop.oversold() == [ids[-1]]


async def test_a_client_who_cancelled_frees_units_before_the_event_comes(shop: Shop) -> None:
    ids = await shop.place(*one_each(7))
    await shop.cancel(ids[0])
    await shop.cancel(ids[1])
    await shop.deliver(shop.compensation(), 7)  # not their return events
    assert await shop.oversold() == []


async def test_a_preview_changes_nothing_and_names_who_goes(shop: Shop) -> None:
    ids = await shop.place(*one_each(4))
    await shop.deliver(shop.compensation())
    ids += await shop.place(*one_each(3))
    events = await shop.events()
    await shop.tallies.add([])
    found = await excess_of("hot", shop.tallies, shop.store, Victims.NEWEST_FIRST)
    assert found is not None
    assert (found.sold, found.beyond) == (4, [])
    assert len(events) == 7
    consumer = shop.compensation()
    await shop.restock("hot", 100)
    await shop.deliver(consumer)
    found = await excess_of("hot", shop.tallies, shop.store, Victims.NEWEST_FIRST)
    assert found is not None
    assert (found.stock, found.sold, found.beyond) == (105, 7, [])
    assert await shop.oversold() == []


async def test_two_at_once_cancel_no_more_than_one(shop: Shop) -> None:
    await shop.place(*one_each(40))
    events = await shop.events()
    await asyncio.gather(*(shop.compensation().handle(events) for _ in range(4)))
    await asyncio.gather(
        *(compensate("hot", shop.tallies, shop.store, victims, shop.move) for victims in (*Victims, *Victims))
    )
    assert await shop.sold("hot") == 5
    assert len(await shop.oversold()) == 35


async def test_the_counter_of_a_quiet_sku_is_repaired_once(shop: Shop) -> None:
    repaired: list[str] = []
    consumer = shop.compensation(repaired=repaired)
    now = 0.0
    consumer._monotonic = lambda: now
    await shop.place(*one_each(2))
    await shop.deliver(consumer)
    await consumer.repair_quiet()
    assert repaired == []
    now = 11.0
    await consumer.repair_quiet()
    await consumer.repair_quiet()
    assert repaired == ["hot"]


class Model:
    """What should be: the orders that were seen, in their order, and the rule."""

    def __init__(self, stock: int, victims: Victims) -> None:
        self.stock = stock
        self.victims = victims
        self.seen: list[tuple[str, int, int]] = []
        self.ended: set[str] = set()
        self.oversold: set[str] = set()

    def decide(self) -> None:
        newest_first = [each for each in reversed(self.seen) if each[0] not in self.ended]
        rules = {
            Victims.NEWEST_FIRST: lambda _: 0,
            Victims.SMALLEST_FIRST: lambda each: each[1],
            Victims.LOWEST_PRIORITY_FIRST: lambda each: each[2],
        }
        live = sorted(newest_first, key=rules[self.victims])
        over = sum(units for _, units, _ in live) - self.stock
        for order_id, units, _ in live:
            if over <= 0:
                return
            self.ended.add(order_id)
            self.oversold.add(order_id)
            over -= units


STEPS = st.one_of(
    st.tuples(st.just("place"), st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 2))),
    st.tuples(st.just("deliver"), st.integers(1, 8)),
    st.tuples(st.just("repeat"), st.integers(1, 8)),
    st.tuples(st.just("restock"), st.integers(1, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("by hand"), st.just(0)),
)


@given(st.integers(0, 8), st.sampled_from(Victims), st.lists(STEPS, max_size=25))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_any_history(
    tmp_path_factory: pytest.TempPathFactory, stock: int, victims: Victims, steps: list[tuple[str, Any]]
) -> None:
    async def run() -> None:
        async with open_shop(tmp_path_factory.mktemp("shop")) as shop:
            await shop.create("hot", stock)
            model = Model(stock, victims)
            consumers = [shop.compensation(victims), shop.compensation(victims)]
            for number, (step, value) in enumerate([*steps, ("deliver", 10_000), ("deliver", 10_000)]):
                await take(shop, model, consumers[number % 2], victims, step, value)
            assert set(await shop.oversold()) == model.oversold
            assert await shop.sold("hot") <= model.stock

    asyncio.run(run())


async def take(shop: Shop, model: Model, consumer: Compensation, victims: Victims, step: str, value: Any) -> None:
    if step == "place":
        units_of_each, priority = value
        await shop.place(*({"hot": units} for units in units_of_each), priority=priority)
    elif step == "restock":
        await shop.restock("hot", value)
        model.stock += value
    elif step == "cancel" and shop.placed:
        order_id = shop.placed[value % len(shop.placed)].order_id
        await shop.cancel(order_id)
        model.ended.add(order_id)
    elif step == "by hand":
        await compensate("hot", shop.tallies, shop.store, victims, shop.move)
        model.decide()
    elif step in ("deliver", "repeat"):
        before = shop.read
        await shop.deliver(consumer, value if step == "deliver" else 0, again=0 if step == "deliver" else value)
        if shop.read > before or step == "repeat":
            placed = {order.order_id: order for order in shop.placed}
            ids = [each.event.event_id.split("/") for each in (await shop.events())[: shop.read]]
            bought = [placed[order_id] for order_id, version, _ in ids if version == "1"]
            model.seen = [(order.order_id, order.lines[0].quantity, order.priority) for order in bought]
            if shop.read:
                model.decide()
