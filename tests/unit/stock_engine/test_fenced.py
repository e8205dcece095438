"""An incarnation that learns that it is fenced grants nothing more and ends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from journal.protocol import IncarnationFenced
from sluice.errors import KeeperUnreachable
from sluice.seams.stock_store import Row
from stockd.engine import FENCE_CHECK_INTERVAL_S, HOUSEKEEPING_INTERVAL_S
from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED, INCARNATION, LEDGER_UNREACHABLE, Parts, verdicts
from tests.unit.virtual_time import clock, in_virtual_time, let_run


async def _fold(parts: Parts, sku: str) -> None:
    row = parts.store.skus[sku].held[INCARNATION]
    await parts.store.fold(sku, INCARNATION, row, 0)


async def _told_by_a_take(parts: Parts) -> None:
    assert (await parts.reserve({"a": 1})).verdicts == [LEDGER_UNREACHABLE]


async def _told_by_an_audit(parts: Parts) -> None:
    with pytest.raises(IncarnationFenced):
        await parts.engine.audit_suspects()


async def _told_by_the_journal(parts: Parts) -> None:
    parts.journal.registered[INCARNATION] = True
    with pytest.raises(IncarnationFenced):
        await parts.engine._check_fence()


@in_virtual_time
@pytest.mark.parametrize("told", [_told_by_a_take, _told_by_an_audit, _told_by_the_journal])
async def test_once_told_it_grants_nothing_more(told: Callable[[Parts], Awaitable[None]]) -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.store.create("b", 9)
    parts.store.fates.append(Fate.LOST_UNHEARD)
    assert (await parts.reserve({"a": 2})).verdicts == [GRANTED]
    await _fold(parts, "a")
    await told(parts)
    with pytest.raises(KeeperUnreachable, match="fenced"):
        await parts.reserve({"b": 1})
    with pytest.raises(KeeperUnreachable, match="fenced"):
        await parts.reserve({"a": 1})
    assert parts.store.skus["a"].held == {INCARNATION: Row(0, 2)}
    assert parts.store.available("b") == 9


@in_virtual_time
@pytest.mark.parametrize("told", [_told_by_a_take, _told_by_an_audit, _told_by_the_journal])
async def test_those_who_wait_for_any_sku_are_told_at_once(told: Callable[[Parts], Awaitable[None]]) -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.store.create("b", 1)
    parts.store.fates.append(Fate.LOST_UNHEARD)
    await parts.reserve({"a": 2})
    await _fold(parts, "a")
    await parts.reserve({"b": 1})
    waiting = parts.reserving({"b": 1})  # for the unit in doubt
    await let_run()
    assert verdicts(waiting) == [None]
    await told(parts)
    await let_run()
    assert verdicts(waiting) == [LEDGER_UNREACHABLE]


@in_virtual_time
async def test_a_zombie_notices_the_fence_in_the_journal_without_any_order() -> None:
    parts = Parts()
    parts.journal.registered[INCARNATION] = True
    async with parts.housekeeping() as running:
        await asyncio.wait([running], timeout=FENCE_CHECK_INTERVAL_S + HOUSEKEEPING_INTERVAL_S)
        assert isinstance(running.exception(), IncarnationFenced)


@in_virtual_time
@pytest.mark.parametrize("told", [_told_by_a_take, _told_by_an_audit])
async def test_its_run_ends_by_saying_so(told: Callable[[Parts], Awaitable[None]]) -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.store.fates.append(Fate.LOST_UNHEARD)
    await parts.reserve({"a": 2})
    await _fold(parts, "a")
    await told(parts)
    async with parts.housekeeping() as running:
        await asyncio.wait([running], timeout=FENCE_CHECK_INTERVAL_S + HOUSEKEEPING_INTERVAL_S)
        assert isinstance(running.exception(), IncarnationFenced)


@in_virtual_time
async def test_a_journal_that_is_away_is_no_fence() -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.journal.away = True
    async with parts.housekeeping():
        await asyncio.sleep(5 * FENCE_CHECK_INTERVAL_S)
        assert (await parts.reserve({"a": 2})).verdicts == [GRANTED]


@in_virtual_time
@pytest.mark.parametrize("told", [_told_by_an_audit, _told_by_the_journal])
async def test_it_does_not_wait_for_what_is_its_successors(told: Callable[[Parts], Awaitable[None]]) -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.store.fates.append(Fate.LOST_UNHEARD)
    assert (await parts.reserve({"a": 2})).verdicts == [GRANTED]
    await _fold(parts, "a")
    await told(parts)
    before = clock()
    await parts.engine.drain(30)
    assert clock() == before


@in_virtual_time
async def test_it_waits_until_a_write_under_way_is_answered() -> None:
    parts = Parts()
    parts.store.create("a", 9)
    parts.store.answering.clear()
    waiting = parts.reserving({"a": 1})
    await let_run()
    await _told_by_the_journal(parts)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await parts.engine.drain(30)
    parts.store.answering.set()
    before = clock()
    await parts.engine.drain(30)
    assert clock() == before
    assert verdicts(waiting) == [LEDGER_UNREACHABLE]
