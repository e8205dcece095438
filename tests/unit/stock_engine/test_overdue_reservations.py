"""A reservation that nobody settles is decided by the journal's row after the grace, and by nothing else."""

import asyncio

from stockd.engine import HOUSEKEEPING_INTERVAL_S
from tests.unit.fake_journal import Fault
from tests.unit.stock_engine.parts import GRACE_S, INCARNATION, Parts
from tests.unit.virtual_time import in_virtual_time

AFTER_GRACE_S = GRACE_S + 2 * HOUSEKEEPING_INTERVAL_S


@in_virtual_time
async def test_without_a_row_it_is_void_and_its_units_return() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    async with parts.housekeeping():
        reservation = await parts.reserve({"a": 2})
        await asyncio.sleep(AFTER_GRACE_S)
    assert parts.journal.spends == {(INCARNATION, reservation.seq): {}}
    assert parts.store.available("a") == 3
    parts.check_quiet()


@in_virtual_time
async def test_with_a_row_only_what_was_not_sold_returns() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    async with parts.housekeeping():
        reservation = await parts.reserve({"a": 3})
        parts.journal.spends[INCARNATION, reservation.seq] = {"a": 2}
        await asyncio.sleep(AFTER_GRACE_S)
    assert parts.store.available("a") == 1
    parts.check_quiet()


@in_virtual_time
async def test_before_the_grace_is_over_nothing_is_decided() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    async with parts.housekeeping():
        await parts.reserve({"a": 2})
        await asyncio.sleep(GRACE_S - 0.01)
        assert parts.journal.spends == {}
        assert parts.engine.units_in_doubt() == 2


@in_virtual_time
async def test_while_the_journal_does_not_answer_it_stays_in_doubt() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    parts.journal.away = True
    async with parts.housekeeping():
        await parts.reserve({"a": 2})
        await asyncio.sleep(100)
        assert (parts.engine.units_in_doubt(), parts.engine.units_free()) == (2, 0)
        parts.journal.away = False
        await asyncio.sleep(1)
    parts.check_quiet()


@in_virtual_time
async def test_a_lost_answer_of_the_journal_changes_nothing() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    parts.journal.faults.extend([Fault.UNHEARD, Fault.LOST])
    async with parts.housekeeping():
        await parts.reserve({"a": 2})
        await asyncio.sleep(AFTER_GRACE_S + 2)
    assert parts.journal.spends == {(INCARNATION, 1): {}}
    parts.check_quiet()


@in_virtual_time
async def test_one_that_is_settled_while_the_journal_is_asked_counts_once() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    async with parts.housekeeping():
        reservation = await parts.reserve({"a": 3})
        parts.journal.answering.clear()
        await asyncio.sleep(AFTER_GRACE_S)
        await parts.sell(reservation, {"a": 1})
        parts.journal.answering.set()
        await asyncio.sleep(1)
    assert parts.store.available("a") == 2
    parts.check_quiet()
