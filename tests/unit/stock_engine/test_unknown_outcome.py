"""A write of unknown outcome is sent again unchanged until it is known; units that land late are found and adopted."""

import asyncio

import pytest

from stockd.engine import HOUSEKEEPING_INTERVAL_S
from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED, LEDGER_UNREACHABLE, OUT_OF_STOCK, STORE_TIMEOUT_S, Parts
from tests.unit.virtual_time import clock, in_virtual_time, let_run


@in_virtual_time
@pytest.mark.parametrize("fates", [[Fate.LOST_UNHEARD], [Fate.APPLIED_UNHEARD], [Fate.LOST_UNHEARD, Fate.AWAY]])
async def test_the_same_write_is_sent_again_and_counts_once(fates: list[Fate]) -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.fates.extend(fates)
    assert (await parts.reserve({"a": 2})).verdicts == [GRANTED]
    assert len(parts.store.sent) == 2
    assert parts.store.sent[0] == parts.store.sent[1]
    assert (parts.held("a"), parts.store.available("a")) == (2, 3)


@in_virtual_time
async def test_nothing_else_is_written_for_the_sku_until_it_is_known() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.fates.extend([Fate.APPLIED_UNHEARD, *[Fate.LOST_UNHEARD] * 3])
    waiting = [parts.reserving({"a": 1})]
    await let_run()
    waiting.append(parts.reserving({"a": 1}))
    await asyncio.wait(waiting)
    assert [task.result().verdicts for task in waiting] == [[GRANTED], [GRANTED]]
    assert len(set(parts.store.sent[:-1])) == 1
    assert parts.held("a") == 2


@in_virtual_time
async def test_a_give_back_of_unknown_outcome_gives_back_once() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    reservation = await parts.reserve({"a": 3})
    parts.store.fates.append(Fate.APPLIED_UNHEARD)
    await parts.sell(reservation, {"a": 1})
    await asyncio.sleep(1)
    assert (parts.held("a"), parts.store.available("a")) == (1, 4)
    parts.check_quiet()


@in_virtual_time
async def test_a_copy_that_lands_after_its_resend_was_applied_changes_nothing() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.fates.append(Fate.LATE_UNHEARD)
    await parts.reserve({"a": 2})
    parts.store.land()
    assert parts.held("a") == 2


@in_virtual_time
async def test_a_late_copy_of_a_give_back_does_not_release_units_that_were_taken_again() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    first = await parts.reserve({"a": 3})
    parts.store.fates.append(Fate.LATE_UNHEARD)
    await parts.sell(first, {})
    await asyncio.sleep(1)
    second = await parts.reserve({"a": 3})
    assert second.verdicts == [GRANTED]
    parts.store.land()
    assert (parts.held("a"), parts.store.available("a")) == (3, 0)


async def _take_that_lands_after_it_was_refused(parts: Parts) -> None:
    """Takes 3 of 2: no. The first copy is still on the wire when a restock makes it possible."""
    parts.store.create("a", 2)
    parts.store.fates.append(Fate.LATE_UNHEARD)
    assert (await parts.reserve({"a": 3})).verdicts == [OUT_OF_STOCK]
    parts.store.add("a", 2)
    parts.store.land()
    assert (parts.held("a"), parts.engine.units_free()) == (3, 0)


@in_virtual_time
async def test_units_that_landed_late_are_found_when_the_sku_is_quiet_and_go_back() -> None:
    parts = Parts()
    async with parts.housekeeping():
        await _take_that_lands_after_it_was_refused(parts)
        await asyncio.sleep(2 * HOUSEKEEPING_INTERVAL_S)
    parts.check_quiet()
    assert parts.store.available("a") == 4


@in_virtual_time
async def test_units_that_landed_late_serve_the_next_order() -> None:
    parts = Parts()
    await _take_that_lands_after_it_was_refused(parts)
    assert (await parts.reserve({"a": 4})).verdicts == [GRANTED]
    assert (parts.held("a"), parts.store.available("a")) == (4, 0)


@in_virtual_time
async def test_a_read_that_was_overtaken_by_a_take_is_not_believed() -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.store.fates.append(Fate.LOST_UNHEARD)
    await parts.reserve({"a": 1})
    read_may_answer = asyncio.get_running_loop().create_future()
    parts.store.before_read_answers = lambda: read_may_answer
    audit = asyncio.create_task(parts.engine.audit_suspects())
    await let_run()
    await parts.reserve({"a": 1})
    read_may_answer.set_result(None)
    await audit  # the read shows one unit where two are believed: that is no fold
    assert (await parts.reserve({"a": 1})).verdicts == [GRANTED]


@in_virtual_time
async def test_a_read_that_was_overtaken_by_a_give_back_makes_no_units() -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.store.fates.append(Fate.LOST_UNHEARD)
    reservation = await parts.reserve({"a": 2})
    read_may_answer = asyncio.get_running_loop().create_future()
    parts.store.before_read_answers = lambda: read_may_answer
    audit = asyncio.create_task(parts.engine.audit_suspects())
    await let_run()
    await parts.sell(reservation, {})
    await let_run()
    assert parts.held("a") == 0
    read_may_answer.set_result(None)
    await audit
    await let_run()
    parts.check_quiet()
    assert (await parts.reserve({"a": 1})).verdicts == [GRANTED]


@in_virtual_time
async def test_a_store_in_trouble_is_not_hammered() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.fates.extend([Fate.LOST_UNHEARD] * 100)
    assert (await parts.reserve({"a": 1})).verdicts == [LEDGER_UNREACHABLE]
    assert clock() == pytest.approx(STORE_TIMEOUT_S)
    assert len(parts.store.sent) <= 7
