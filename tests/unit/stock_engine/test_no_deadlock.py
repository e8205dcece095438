"""Whatever carts over few SKUs arrive together, and whoever leaves: every order is decided, and nothing is kept."""

import asyncio

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.stock_engine.parts import GRANTED, OUT_OF_STOCK, STORE_TIMEOUT_S, Parts
from tests.unit.virtual_time import VirtualTimeLoop, clock, let_run

SKUS = "abc"
CARTS = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 3), min_size=1)
ARRIVALS = st.lists(st.tuples(st.lists(CARTS, min_size=1, max_size=4), st.integers(0, 6)), min_size=1, max_size=12)


@given(ARRIVALS, st.lists(st.integers(0, 8), min_size=3, max_size=3), st.sets(st.integers(0, 11), max_size=2))
@example([([{"b": 2}, {"a": 1, "b": 1}], 4), ([{"b": 2}], 1), ([{"a": 1}], 1), ([{"a": 1}], 1)], [0, 3, 0], {1})
@settings(max_examples=150)
def test_all_are_decided_and_what_is_granted_is_there(
    arrivals: list[tuple[list[dict[str, int]], int]], units: list[int], leavers: set[int]
) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(_all_are_decided(arrivals, units, leavers))


async def _all_are_decided(
    arrivals: list[tuple[list[dict[str, int]], int]], units: list[int], leavers: set[int]
) -> None:
    parts = Parts()
    for sku, count in zip(SKUS, units, strict=True):
        parts.store.create(sku, count)
    requests = []
    for carts, turns in arrivals:
        requests.append(parts.reserving(*carts))
        await let_run(turns)
    for number in leavers:
        if number < len(requests):
            requests[number].cancel()
    await asyncio.wait(requests)
    assert clock() < STORE_TIMEOUT_S
    granted = dict.fromkeys(SKUS, 0)
    for request, (carts, _) in zip(requests, arrivals, strict=True):
        if request.cancelled():
            continue
        reservation = request.result()
        assert set(reservation.verdicts) <= {GRANTED, OUT_OF_STOCK}
        for cart, verdict in zip(carts, reservation.verdicts, strict=True):
            for sku, quantity in cart.items():
                granted[sku] += quantity * (verdict == GRANTED)
    await let_run(200)
    assert granted == {sku: parts.held(sku) for sku in SKUS}
    await parts.engine.drain(60)
    parts.check_quiet()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=25), st.integers(0, 20))
@example([(False, 0), (True, 0)], 1)
@settings(max_examples=100)
def test_exactly_as_many_orders_are_sold_as_there_are_units(buyers: list[tuple[bool, int]], units: int) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(_exactly_as_many(buyers, units))


async def _exactly_as_many(buyers: list[tuple[bool, int]], units: int) -> None:
    """Each buyer orders one unit; False: it turns out to have it already, so the unit comes back."""
    parts = Parts()
    parts.store.create("a", units)

    async def buy(buys: bool) -> None:
        reservation = await parts.reserve({"a": 1})
        await asyncio.sleep(0.005)
        if reservation.seq:
            await parts.sell(reservation, {"a": 1} if buys else {})

    buying = []
    for buys, pause in buyers:
        buying.append(asyncio.create_task(buy(buys)))
        await let_run(pause)
    await asyncio.gather(*buying)
    await let_run(200)
    parts.check_quiet()
    assert parts.journal.sold_by_sku().get("a", 0) == min(units, sum(buys for buys, _ in buyers))
