"""Policy `escrow`: demand is served from memory, little is taken ahead, and what stays unsold goes back."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.model import StockPolicy
from sluice.seams.stock_keeper import Reservation
from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED, LEDGER_UNREACHABLE, OUT_OF_STOCK, STORE_TIMEOUT_S, Parts
from tests.unit.virtual_time import clock, in_virtual_time, let_run

ESCROW = StockPolicy.ESCROW


async def sell_steadily(parts: Parts, sku: str, batches: int, orders: int, pause_s: float = 0.05) -> list[Reservation]:
    """Reserves `orders` units `batches` times, and sells whatever is granted."""
    answers = []
    for _ in range(batches):
        answer = await parts.reserve(*[{sku: 1}] * orders)
        if answer.seq:
            await parts.sell(answer, {sku: list(answer.verdicts).count(GRANTED)})
        answers.append(answer)
        await asyncio.sleep(pause_s)
    return answers


def granted(answers: list[Reservation]) -> int:
    return sum(list(answer.verdicts).count(GRANTED) for answer in answers)


@in_virtual_time
async def test_a_steady_demand_is_served_from_memory() -> None:
    parts = Parts()
    parts.store.create("a", 100_000, ESCROW)
    assert granted(await sell_steadily(parts, "a", 100, 10)) == 1_000
    assert len(parts.store.sent) <= 25, "a write for every batch is no escrow"


@in_virtual_time
async def test_a_steady_demand_never_empties_the_escrow() -> None:
    parts = Parts()
    parts.store.create("a", 100_000, ESCROW)
    await sell_steadily(parts, "a", 60, 10)
    for _ in range(60):
        await sell_steadily(parts, "a", 1, 10)
        assert parts.engine.units_free() >= 250, "200 units/s are asked for: more than a second must be there"


@settings(max_examples=50)
@given(orders_per_s=st.floats(2.0, 50.0), falls_silent_after_s=st.floats(5.0, 10.0))
@in_virtual_time
async def test_a_ledger_that_is_silent_for_two_seconds_is_not_noticed(
    orders_per_s: float, falls_silent_after_s: float
) -> None:
    """As one that lost a node is, at any moment between two takes."""
    parts = Parts()
    parts.store.create("a", 100_000, ESCROW)
    started = clock()
    answers = []

    async def buy() -> None:
        answer = await parts.reserve({"a": 1})
        if answer.seq:
            await parts.sell(answer, {"a": 1})
        answers.append(answer)

    buying = []
    while clock() - started < falls_silent_after_s + 4.0:
        silent_for_s = clock() - started - falls_silent_after_s
        if 0.0 <= silent_for_s < 2.0:
            parts.store.answering.clear()
        else:
            parts.store.answering.set()
        buying.append(asyncio.create_task(buy()))
        await asyncio.sleep(1 / orders_per_s)
    await asyncio.gather(*buying)
    assert granted(answers) == len(buying)


@in_virtual_time
async def test_exact_takes_nothing_ahead() -> None:
    parts = Parts()
    parts.store.create("a", 100_000)
    await sell_steadily(parts, "a", 20, 10)
    assert parts.engine.units_free() == 0
    assert len(parts.store.sent) == 20


@in_virtual_time
async def test_at_most_half_a_share_is_taken_ahead() -> None:
    parts = Parts()
    parts.store.create("a", 1_000, ESCROW)
    for _ in range(30):
        before = parts.store.available("a")
        free_before = parts.engine.units_free()
        answer = await parts.reserve(*[{"a": 1}] * 20)
        await parts.sell(answer, {"a": list(answer.verdicts).count(GRANTED)})
        assert parts.engine.units_free() <= (before + free_before) // 2
        await asyncio.sleep(0.01)


@in_virtual_time
async def test_every_unit_is_sold_and_not_one_more() -> None:
    parts = Parts()
    parts.store.create("a", 137, ESCROW)
    answers = await sell_steadily(parts, "a", 60, 5)
    assert granted(answers) == 137
    assert answers[-1].verdicts == [OUT_OF_STOCK] * 5
    parts.check_quiet()


@in_virtual_time
async def test_what_stays_unsold_goes_back_when_demand_ends() -> None:
    parts = Parts()
    parts.store.create("a", 10_000, ESCROW)
    async with parts.housekeeping():
        await sell_steadily(parts, "a", 40, 10)
        assert parts.engine.units_free() > 0
        await asyncio.sleep(15)
        parts.check_quiet()


@in_virtual_time
async def test_it_goes_back_in_a_few_writes_and_not_by_ever_smaller_halves() -> None:
    parts = Parts()
    parts.store.create("a", 1_000_000, ESCROW)
    async with parts.housekeeping():
        await sell_steadily(parts, "a", 40, 100)
        assert parts.engine.units_free() > 2_000
        await asyncio.sleep(15)
        assert len([take for _, take in parts.store.sent if take.count < 0]) <= 3
        parts.check_quiet()


@in_virtual_time
async def test_for_a_sku_that_sells_now_and_then_nothing_is_taken_ahead() -> None:
    parts = Parts()
    parts.store.create("a", 10_000, ESCROW)
    async with parts.housekeeping():
        for _ in range(20):
            assert granted(await sell_steadily(parts, "a", 1, 1, pause_s=5.0)) == 1
    assert [take.count for _, take in parts.store.sent] == [1] * 20


@in_virtual_time
async def test_the_second_order_of_a_second_is_a_demand() -> None:
    parts = Parts()
    parts.store.create("a", 10_000, ESCROW)
    await sell_steadily(parts, "a", 1, 1)
    assert parts.engine.units_free() == 0
    await sell_steadily(parts, "a", 2, 1)
    assert parts.engine.units_free() > 0


@in_virtual_time
async def test_while_the_ledger_is_away_the_escrow_goes_on_selling_and_then_says_so() -> None:
    parts = Parts()
    parts.store.create("a", 10_000, ESCROW)
    await sell_steadily(parts, "a", 40, 10)
    in_memory = parts.engine.units_free()
    assert in_memory >= 50
    parts.store.away = True
    started = clock()
    answers = await sell_steadily(parts, "a", in_memory, 1, pause_s=0)
    assert granted(answers) == in_memory
    assert clock() == started, "units in memory are sold without waiting for the ledger"
    assert (await parts.reserve({"a": 1})).verdicts == [LEDGER_UNREACHABLE]
    assert clock() - started <= STORE_TIMEOUT_S
    parts.store.away = False
    assert (await parts.reserve({"a": 1})).verdicts == [GRANTED]


@in_virtual_time
async def test_a_refill_of_unknown_outcome_does_not_hold_up_what_is_in_memory() -> None:
    parts = Parts()
    parts.store.create("a", 10_000, ESCROW)
    await sell_steadily(parts, "a", 40, 10)
    parts.store.fates.extend([Fate.LATE_UNHEARD] + [Fate.LOST_UNHEARD] * 5)
    in_memory = parts.engine.units_free()
    started = clock()
    answers = await sell_steadily(parts, "a", in_memory, 1, pause_s=0)
    assert granted(answers) == in_memory
    assert clock() == started
    parts.store.check_conservation()


@in_virtual_time
async def test_a_server_that_drains_returns_everything() -> None:
    parts = Parts()
    parts.store.create("a", 10_000, ESCROW)
    await sell_steadily(parts, "a", 40, 10)
    assert parts.engine.units_free() > 0
    await parts.engine.drain(10)
    parts.check_quiet()


@settings(max_examples=150)
@given(
    units=st.integers(0, 60),
    steps=st.lists(
        st.tuples(st.integers(1, 8), st.floats(0, 3), st.sampled_from([*Fate, *[Fate.ANSWERED] * 5]), st.booleans()),
        max_size=25,
    ),
)
def test_whatever_happens_units_are_kept_and_none_is_sold_twice(
    units: int, steps: list[tuple[int, float, Fate, bool]]
) -> None:
    @in_virtual_time
    async def history() -> None:
        parts = Parts()
        parts.store.create("a", units, ESCROW)
        async with parts.housekeeping():
            for orders, pause_s, fate, settles in steps:
                if fate is not Fate.ANSWERED:
                    parts.store.fates.append(fate)
                answer = await parts.reserve(*[{"a": 1}] * orders)
                if answer.seq and settles:
                    await parts.sell(answer, {"a": list(answer.verdicts).count(GRANTED)})
                while parts.store.late:
                    parts.store.land()
                await asyncio.sleep(pause_s)
                parts.store.check_conservation()
                assert parts.journal.sold_by_sku(parts.engine.incarnation).get("a", 0) <= units
            parts.store.fates.clear()
            await asyncio.sleep(30)
            await let_run()
            parts.check_quiet()

    history()
