"""Nobody hears "out of stock" because of units that were granted to orders beside it that turned out not to need them:
orders that stand already, that go beyond a customer's limit, or that another server had no units for.
"""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gateway.keepers import SOLD_OUT_BELIEVED_S
from gateway.outcomes import Outcome, Reason
from sluice.model import NewOrder
from tests.unit.order_placing.parts import RESERVE_LIMIT_S, FakeKeeper, Parts, is_new, is_replay, order, reason
from tests.unit.order_placing.test_spread_skus import spread
from tests.unit.virtual_time import in_virtual_time


def _settling(parts: Parts) -> None:
    """The stock servers put back what was not sold as soon as they are told."""
    for keeper in parts.keepers.values():
        _put_back_when_told(keeper)


def _put_back_when_told(keeper: FakeKeeper) -> None:
    tell = keeper._tell

    def tell_and_put_back(settlements: object) -> None:
        before = set(keeper.told)
        tell(settlements)  # type: ignore[arg-type]
        for seq in set(keeper.told) - before:
            for sku, granted in keeper.granted[seq].items():
                keeper.units[sku] += granted - keeper.told[seq].get(sku, 0)

    keeper._tell = tell_and_put_back  # type: ignore[method-assign,assignment]


def _parts(units: int) -> Parts:
    parts = Parts()
    parts.stock({"a": units})
    _settling(parts)
    return parts


@in_virtual_time
async def test_orders_that_stand_leave_their_units_to_new_ones() -> None:
    parts = _parts(5)
    first = [order(number) for number in range(1, 4)]
    await parts.place(*first)
    outcomes = await parts.place(*first, *(order(number) for number in range(10, 13)))
    assert [is_replay(outcomes[each.order_id]) for each in first] == [True] * 3
    assert [is_new(outcomes[order(number).order_id]) for number in range(10, 13)] == [True, True, False]
    assert reason(outcomes[order(12).order_id]) is Reason.OUT_OF_STOCK
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_who_is_at_the_limit_leaves_the_units_to_others_and_hears_of_the_limit() -> None:
    parts = _parts(3)
    parts.journal.limits["a"] = 1
    greedy = [order(number, customer="greedy") for number in range(1, 50)]
    others = [order(number, customer=f"customer-{number}") for number in range(100, 102)]
    outcomes = await parts.place(*greedy, *others)
    assert [reason(outcomes[each.order_id]) for each in greedy[1:]] == [Reason.CUSTOMER_LIMIT] * 48
    assert is_new(outcomes[greedy[0].order_id])
    assert all(is_new(outcomes[each.order_id]) for each in others)
    assert len(parts.keepers["stockd-0"].asked) == 2, "one customer's orders must not be tried one after the other"
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_smaller_orders_of_a_customer_beyond_the_limit_have_their_chance() -> None:
    parts = _parts(4)
    parts.journal.limits["a"] = 3
    outcomes = await parts.place(order(1, {"a": 4}, "greedy"), order(2, {"a": 3}, "greedy"))
    assert reason(outcomes[order(1).order_id]) is Reason.CUSTOMER_LIMIT
    assert is_new(outcomes[order(2).order_id])
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_a_cart_that_fails_elsewhere_leaves_its_units_to_others() -> None:
    parts = Parts(("stockd-0", "stockd-1"))
    shared = parts.sku_of("stockd-0")
    gone, there = [sku for sku in (f"sku-{n}" for n in range(1_000)) if parts.owner(sku) is parts.keepers["stockd-1"]][
        :2
    ]
    parts.stock({shared: 1, gone: 0, there: 1})
    _settling(parts)
    outcomes = await parts.place(order(1, {shared: 1, gone: 1}), order(2, {shared: 1, there: 1}))
    assert reason(outcomes[order(1).order_id]) is Reason.OUT_OF_STOCK
    assert is_new(outcomes[order(2).order_id])
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_of_a_sku_that_is_spread_the_owner_that_got_them_back_is_asked() -> None:
    for owner in range(3):  # orders go to the owners in turn
        parts = Parts(("stockd-0", "stockd-1", "stockd-2"))
        parts.stock({"hot": 0})
        _settling(parts)
        owners = await spread(parts, "hot", 3)
        await asyncio.sleep(SOLD_OUT_BELIEVED_S)
        parts.journal.limits["hot"] = 1
        parts.keepers[owners[owner]].units["hot"] = 2
        greedy = [order(number, {"hot": 1}, "greedy") for number in range(10, 14)]
        outcomes = await parts.place(*greedy, order(20, {"hot": 1}, "other"))
        assert [is_new(outcomes[each.order_id]) for each in greedy] == [True, False, False, False]
        assert is_new(outcomes[order(20).order_id])
        await parts.check_quiet()
        parts.close()


@in_virtual_time
async def test_who_cannot_be_asked_for_in_time_is_told_to_come_again() -> None:
    parts = _parts(1)
    parts.keepers["stockd-0"].pause_s = RESERVE_LIMIT_S / 4
    parts.journal.limits["a"] = 0  # nobody may have any: each in turn is granted the unit and gives it back
    orders = [order(number, customer=f"customer-{number}") for number in range(10, 30)]
    outcomes = await parts.place(*orders)
    reasons = [reason(outcomes[each.order_id]) for each in orders]
    assert set(reasons) == {Reason.CUSTOMER_LIMIT, Reason.STOCK_UNREACHABLE}
    await parts.check_quiet()
    parts.close()


_KINDS = st.sampled_from(("new", "again", "greedy"))


@given(kinds=st.lists(_KINDS, max_size=30), units=st.integers(0, 12))
@in_virtual_time
async def test_as_many_orders_are_accepted_as_there_are_units(kinds: list[str], units: int) -> None:
    """In one message: new orders, orders that stand, and orders of a customer who may have no more."""
    parts = _parts(100)
    parts.journal.limits["a"] = 1
    stand = [order(number, customer=f"customer-{number}") for number in range(1, 31)]
    await parts.place(order(0, customer="greedy"), *stand)
    parts.keepers["stockd-0"].units["a"] = units
    orders: list[NewOrder] = []
    for number, kind in enumerate(kinds):
        if kind == "again":
            orders.append(stand[number])
        else:
            customer = "greedy" if kind == "greedy" else f"customer-{100 + number}"
            orders.append(order(100 + number, customer=customer))
    outcomes: dict[str, Outcome] = await parts.place(*orders)
    told = {
        kind: [outcomes[each.order_id] for each, own in zip(orders, kinds, strict=True) if own == kind]
        for kind in kinds
    }
    assert sum(map(is_new, told.get("new", []))) == min(units, kinds.count("new"))
    assert all(map(is_replay, told.get("again", [])))
    assert {reason(outcome) for outcome in told.get("greedy", [])} <= {Reason.CUSTOMER_LIMIT, Reason.OUT_OF_STOCK}
    await parts.check_quiet()
    parts.close()
