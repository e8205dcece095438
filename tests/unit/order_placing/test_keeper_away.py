"""A stock server that does not answer costs time, not orders: the next in rank is asked, a bounded number of times."""

import asyncio

import pytest

from gateway.keepers import PROBE_INTERVAL_S, PROBE_TIMEOUT_S
from gateway.outcomes import Reason
from gateway.placing import MAX_RESERVE_ATTEMPTS
from sluice.seams.stock_keeper import Verdict
from tests.unit.order_placing.parts import RESERVE_LIMIT_S, Parts, is_new, order, reason
from tests.unit.virtual_time import clock, in_virtual_time

NAMES = ("stockd-0", "stockd-1", "stockd-2", "stockd-3")


@in_virtual_time
async def test_the_next_in_rank_is_asked() -> None:
    parts = Parts(NAMES)
    parts.stock({"a": 5})
    parts.owner("a").away = True
    assert is_new(await parts.place_one(order(1)))
    await parts.check_quiet()
    parts.close()


@in_virtual_time
async def test_one_that_hangs_is_left_after_its_time() -> None:
    parts = Parts(NAMES)
    parts.stock({"a": 5})
    parts.owner("a").answering.clear()
    assert is_new(await parts.place_one(order(1)))
    assert clock() == pytest.approx(RESERVE_LIMIT_S)
    parts.close()


@in_virtual_time
async def test_one_that_hangs_is_found_out_long_before_orders_would_give_up() -> None:
    parts = Parts(NAMES)
    parts.stock({"a": 5})
    async with parts.watching():
        await asyncio.sleep(1)
        started = clock()
        parts.owner("a").answering.clear()
        assert is_new(await parts.place_one(order(1)))
    assert clock() - started <= PROBE_INTERVAL_S + PROBE_TIMEOUT_S < RESERVE_LIMIT_S
    parts.close()


@in_virtual_time
async def test_one_that_is_only_slow_is_waited_for() -> None:
    parts = Parts(NAMES)
    parts.stock({"a": 5})
    slow = parts.owner("a")
    slow.pause_s = PROBE_INTERVAL_S + PROBE_TIMEOUT_S + 0.1
    async with parts.watching():
        assert is_new(await parts.place_one(order(1)))
    assert len(slow.granted) == 1
    parts.close()


@in_virtual_time
async def test_the_attempts_are_bounded() -> None:
    parts = Parts(NAMES)
    for keeper in parts.keepers.values():
        keeper.away = True
    assert reason(await parts.place_one(order(1))) is Reason.STOCK_UNREACHABLE
    assert sum(link.away for link in parts.links.links()) == MAX_RESERVE_ATTEMPTS
    assert not parts.links.all_away()
    assert parts.placing.orders_in_flight == 0
    parts.close()


@in_virtual_time
async def test_one_that_answers_again_is_asked_again() -> None:
    parts = Parts(NAMES)
    parts.stock({"a": 5})
    best = parts.owner("a")
    best.away = True
    await parts.place_one(order(1))
    assert parts.owner("a") is not best
    best.away = False
    async with parts.watching():
        await asyncio.sleep(2 * PROBE_INTERVAL_S)
    assert parts.owner("a") is best
    assert is_new(await parts.place_one(order(2)))
    assert len(best.granted) == 1


@in_virtual_time
@pytest.mark.parametrize(
    ("verdict", "heard"),
    [
        (Verdict.LEDGER_UNREACHABLE, Reason.STOCK_UNREACHABLE),
        (Verdict.OVERLOADED, Reason.OVERLOADED),
        (Verdict.SKU_NOT_FOUND, Reason.SKU_NOT_FOUND),
    ],
)
async def test_what_a_server_cannot_do_is_told_as_it_is(verdict: Verdict, heard: Reason) -> None:
    parts = Parts()
    parts.keepers["stockd-0"].verdict = verdict
    assert reason(await parts.place_one(order(1))) is heard


@in_virtual_time
async def test_settlements_for_a_server_that_is_away_are_told_when_orders_come_again() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    parts.journal.answering.clear()
    waiting = asyncio.create_task(parts.place_one(order(1)))
    await asyncio.sleep(0.1)
    link = parts.links.owner_of("a")
    parts.keepers["stockd-0"].away = True
    link.mark_away("somebody found it away")
    parts.journal.answering.set()
    await waiting
    parts.keepers["stockd-0"].away = False
    async with parts.watching():
        await asyncio.sleep(2 * PROBE_INTERVAL_S)
    await parts.place_one(order(2))
    await parts.check_quiet()
    assert parts.keepers["stockd-0"].told == {1: {"a": 1}, 2: {"a": 1}}
