"""A hot SKU's orders go to its first k owners, and nobody hears "out of stock" while one of them has units."""

import asyncio

from gateway.keepers import SOLD_OUT_BELIEVED_S
from gateway.outcomes import Reason
from tests.unit.order_placing.parts import Parts, is_new, order, reason
from tests.unit.virtual_time import clock, in_virtual_time

NAMES = ("stockd-0", "stockd-1", "stockd-2", "stockd-3")


async def spread(parts: Parts, sku: str, owners: int) -> list[str]:
    """The SKU's owners, after a first order has taught the gateway."""
    for keeper in parts.keepers.values():
        keeper.advice[sku] = owners
    await parts.place_one(order(1, {sku: 1}))
    return [link.name for link in parts.links.owners_of(sku)]


def asked(parts: Parts, sku: str) -> dict[str, int]:
    """Orders that each server was asked for."""
    return {
        name: count
        for name, keeper in parts.keepers.items()
        if (count := sum(len(batch.sku_indexes) for batch in keeper.asked if sku in batch.skus))
    }


@in_virtual_time
async def test_orders_go_to_the_first_k_in_rank_in_turn() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1_000})
    ranked = [link.name for link in parts.links._ranked("hot")]
    assert await spread(parts, "hot", 3) == ranked[:3]
    for number in range(2, 32):
        assert is_new(await parts.place_one(order(number, {"hot": 1})))
    assert asked(parts, "hot") == {ranked[0]: 11, ranked[1]: 10, ranked[2]: 10}
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_the_highest_advice_counts_and_one_is_enough_when_all_say_so() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1_000})
    first, second = parts.links._ranked("hot")[:2]
    parts.links.learn(first, ["hot", "cold"], [2, 1])
    assert list(parts.links.owners_of("hot")) == [first, second]
    parts.links.learn(second, ["hot"], [])
    assert list(parts.links.owners_of("hot")) == [first, second]
    parts.links.learn(first, ["hot"], [])
    assert list(parts.links.owners_of("hot")) == [first]
    assert not parts.links.is_spread("hot")
    assert not parts.links.is_spread("cold")
    parts.close()


@in_virtual_time
async def test_an_owner_that_is_away_is_replaced_by_the_next() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1_000})
    names = await spread(parts, "hot", 2)
    await parts.place_one(order(2, {"hot": 1}))  # the other owner has advised too
    ranked = parts.links._ranked("hot")
    ranked[0].mark_away("gone")
    assert [link.name for link in parts.links.owners_of("hot")] == [ranked[1].name, ranked[2].name]
    assert names == [ranked[0].name, ranked[1].name]
    parts.close()


@in_virtual_time
async def test_units_that_only_another_owner_has_are_found() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1})
    owners = await spread(parts, "hot", 3)
    for name in owners:
        parts.keepers[name].units["hot"] = 0
    parts.keepers[owners[2]].units["hot"] = 5
    orders = [order(number, {"hot": 1}) for number in range(2, 12)]
    outcomes = list((await parts.place(*orders)).values())
    assert [is_new(outcome) for outcome in outcomes].count(True) == 5
    assert [reason(outcome) for outcome in outcomes].count(Reason.OUT_OF_STOCK) == 5
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_a_cart_finds_units_of_another_owner_too() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1, "calm": 10})
    owners = await spread(parts, "hot", 2)
    for number, name in enumerate(owners, start=2):
        for each in owners:
            parts.keepers[each].units["hot"] = 0
        parts.keepers[name].units["hot"] = 1
        assert is_new(await parts.place_one(order(number, {"calm": 1, "hot": 1})))
    assert reason(await parts.place_one(order(9, {"calm": 1, "hot": 1}))) is Reason.OUT_OF_STOCK
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_after_all_owners_said_no_one_of_them_is_believed_for_a_moment() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1})
    owners = await spread(parts, "hot", 3)
    for name in owners:
        parts.keepers[name].units["hot"] = 0
    assert reason(await parts.place_one(order(2, {"hot": 1}))) is Reason.OUT_OF_STOCK
    before = sum(asked(parts, "hot").values())
    for number in range(3, 13):
        assert reason(await parts.place_one(order(number, {"hot": 1}))) is Reason.OUT_OF_STOCK
    assert sum(asked(parts, "hot").values()) - before == 10
    await asyncio.sleep(SOLD_OUT_BELIEVED_S)
    parts.keepers[owners[1]].units["hot"] = 1
    assert is_new(await parts.place_one(order(20, {"hot": 1})))
    parts.close()


@in_virtual_time
async def test_that_many_units_are_nowhere_says_nothing_of_few() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1})
    owners = await spread(parts, "hot", 2)
    for name in owners:
        parts.keepers[name].units["hot"] = 0
    parts.keepers[owners[0]].units["hot"] = parts.keepers[owners[1]].units["hot"] = 3
    assert reason(await parts.place_one(order(2, {"hot": 4}))) is Reason.OUT_OF_STOCK
    for number in range(3, 9):
        assert is_new(await parts.place_one(order(number, {"hot": 1})))
    parts.close()


@in_virtual_time
async def test_a_sku_with_one_owner_is_asked_for_once() -> None:
    parts = Parts(NAMES)
    parts.stock({"calm": 0})
    assert reason(await parts.place_one(order(1, {"calm": 1}))) is Reason.OUT_OF_STOCK
    assert sum(asked(parts, "calm").values()) == 1
    parts.close()


@in_virtual_time
async def test_another_owner_that_goes_away_while_it_is_asked_is_passed_by() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 1})
    owners = await spread(parts, "hot", 2)
    for name in owners:
        parts.keepers[name].units["hot"] = 0
    turn = parts.links._spread["hot"].turn
    parts.keepers[owners[turn % 2]].away = True  # the next to be asked is the other one
    assert reason(await parts.place_one(order(2, {"hot": 1}))) in (Reason.OUT_OF_STOCK, None)
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_that_all_owners_had_none_is_believed_until_units_come_back() -> None:
    parts = Parts(NAMES)
    parts.stock({"hot": 0})
    owners = await spread(parts, "hot", 2)
    first = parts.links.owners_of("hot")[:1]
    assert parts.links.other_owner("hot", first, 1, clock()) is None, f"{owners} had none a moment ago"
    parts.links.came_back(["hot", "never seen"])
    assert parts.links.other_owner("hot", first, 1, clock()) is not None
    parts.close()
