"""A customer has at most so many units of a SKU, however many gateways commit for it at once."""

import asyncio
import random
from collections import Counter

from journal.protocol import (
    Committed,
    CustomerLimit,
    Journal,
    LimitsReached,
    OrdersExist,
    Spend,
    Transition,
    TransitionBatch,
)
from sluice.model import NewOrder, OrderState, units_by_sku
from tests.contract.journal.standing import standing
from tests.journals import NOW, new_order, registered, sale


async def ended(journal: Journal, order: NewOrder, incarnation: object, seq: int) -> None:
    (standing_order,) = (await journal.find_orders([order.order_id])).values()
    units = {sku: -count for sku, count in units_by_sku([standing_order]).items()}
    batch = TransitionBatch(
        [Transition(standing_order, OrderState.CANCELLED, "CLIENT")],
        [Spend(incarnation, seq, units)],  # type: ignore[arg-type]
        b"",
        0,
        NOW,
    )
    assert await journal.transition(batch) == Committed()


async def test_up_to_the_limit_and_not_beyond(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.set_limit("tea", 3)
    assert await journal.commit(sale(incarnation, 1, [new_order({"tea": 2})])) == Committed()
    before = await standing(journal)
    too_much = new_order({"tea": 2})
    refused = await journal.commit(sale(incarnation, 2, [too_much]))
    assert refused == LimitsReached({too_much.order_id: CustomerLimit("tea", 3)})
    assert await standing(journal) == before
    assert await journal.commit(sale(incarnation, 2, [new_order({"tea": 1})])) == Committed()
    assert await journal.counted_units("customer-1", ["tea", "cup"]) == {"tea": 3}


async def test_customers_and_skus_do_not_mix(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.set_limit("tea", 1)
    orders = [new_order({"tea": 1}, customer_id=f"customer-{n}") for n in range(3)]
    orders += [new_order({"cup": 9}) for _ in range(3)]
    assert await journal.commit(sale(incarnation, 1, orders)) == Committed()
    assert await journal.limits(["tea", "cup"]) == {"tea": 1}


async def test_who_comes_first_in_a_batch_gets_what_is_left(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.set_limit("tea", 3)
    first, large, third = new_order({"tea": 2}), new_order({"tea": 2, "cup": 1}), new_order({"tea": 1})
    last = new_order({"tea": 1})
    batch = sale(incarnation, 1, [first, large, third, last])
    refused = await journal.commit(batch)
    limit = CustomerLimit("tea", 3)
    assert refused == LimitsReached({large.order_id: limit, last.order_id: limit})
    assert await journal.commit(sale(incarnation, 1, [first, third])) == Committed()


async def test_an_order_that_stands_is_answered_before_any_limit(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.set_limit("tea", 1)
    order = new_order({"tea": 1})
    await journal.commit(sale(incarnation, 1, [order]))
    assert isinstance(await journal.commit(sale(incarnation, 2, [order])), OrdersExist)


async def test_units_of_an_order_that_ended_count_no_more(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.set_limit("tea", 2)
    order = new_order({"tea": 2, "cup": 1})
    await journal.commit(sale(incarnation, 1, [order]))
    await ended(journal, order, incarnation, 2)
    assert await journal.counted_units("customer-1", ["tea"]) == {"tea": 0}
    assert await journal.commit(sale(incarnation, 3, [new_order({"tea": 2})])) == Committed()


async def test_a_change_of_state_that_keeps_the_units_keeps_the_count(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.set_limit("tea", 2)
    order = new_order({"tea": 2})
    await journal.commit(sale(incarnation, 1, [order]))
    (found,) = (await journal.find_orders([order.order_id])).values()
    await journal.transition(TransitionBatch([Transition(found, OrderState.CONFIRMED)], [], b"", 0, NOW))
    assert await journal.counted_units("customer-1", ["tea"]) == {"tea": 2}


async def test_orders_from_before_the_limit_neither_count_nor_give_anything_back(journal: Journal) -> None:
    incarnation = await registered(journal)
    early = new_order({"tea": 5})
    await journal.commit(sale(incarnation, 1, [early]))
    await journal.set_limit("tea", 2)
    await journal.commit(sale(incarnation, 2, [new_order({"tea": 2})]))
    await ended(journal, early, incarnation, 3)
    assert await journal.counted_units("customer-1", ["tea"]) == {"tea": 2}
    assert isinstance(await journal.commit(sale(incarnation, 4, [new_order({"tea": 1})])), LimitsReached)


async def test_a_limit_can_be_changed_and_removed(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.set_limit("tea", 4)
    order = new_order({"tea": 4})
    await journal.commit(sale(incarnation, 1, [order]))
    await journal.set_limit("tea", 1)
    assert await journal.limits(["tea"]) == {"tea": 1}
    assert isinstance(await journal.commit(sale(incarnation, 2, [new_order({"tea": 1})])), LimitsReached)
    await journal.set_limit("tea", None)
    assert await journal.limits(["tea"]) == {}
    assert await journal.commit(sale(incarnation, 2, [new_order({"tea": 9})])) == Committed()
    await ended(journal, order, incarnation, 3)
    assert await journal.counted_units("customer-1", ["tea"]) == {"tea": 0}


async def test_of_one_customers_orders_at_once_never_more_than_the_limit(journal: Journal) -> None:
    """Batches of several customers and SKUs in any order, some orders ended meanwhile; nobody deadlocks."""
    incarnation = await registered(journal)
    for sku in SKUS:
        await journal.set_limit(sku, LIMIT)
    seqs = iter(range(1, 10_000))
    rng = random.Random(3)

    async def sell(orders: list[NewOrder]) -> int:
        """As a gateway does, and then the customer cancels one. How many were cancelled."""
        while orders:
            match await journal.commit(sale(incarnation, next(seqs), orders)):
                case Committed():
                    await ended(journal, rng.choice(orders), incarnation, next(seqs))
                    return 1
                case LimitsReached(reached):
                    orders = [order for order in orders if order.order_id not in reached]
        return 0

    cancelled = [await asyncio.gather(*(sell(orders_of_three_customers(rng)) for _ in range(6))) for _ in range(5)]
    assert sum(map(sum, cancelled)) > 5
    have: Counter[tuple[str, str]] = Counter()
    for order in (await standing(journal)).orders.values():
        if order.state is OrderState.CREATED:
            have.update({(order.customer_id, sku): quantity for sku, quantity in order.lines})
    assert max(have.values()) == LIMIT
    for customer in CUSTOMERS:
        counted = await journal.counted_units(customer, SKUS)
        assert {sku: have[customer, sku] for sku in SKUS} == {sku: counted.get(sku, 0) for sku in SKUS}


SKUS = ("tea", "cup", "pot")
CUSTOMERS = ("anna", "berta", "carl")
LIMIT = 4


def orders_of_three_customers(rng: random.Random) -> list[NewOrder]:
    lines = [{sku: rng.randint(1, 2) for sku in rng.sample(SKUS, rng.randint(1, 3))} for _ in range(6)]
    return [new_order(each, customer_id=rng.choice(CUSTOMERS)) for each in lines]
