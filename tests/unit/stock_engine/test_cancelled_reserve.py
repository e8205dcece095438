"""Nobody can commit what nobody was told: a `Reserve` whose caller left frees its units at once."""

import asyncio

import pytest

from tests.unit.stock_engine.parts import GRANTED, Parts, verdicts
from tests.unit.virtual_time import clock, in_virtual_time, let_run


async def _cancelled(task: "asyncio.Task[object]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@in_virtual_time
async def test_units_granted_to_part_of_the_batch_serve_others_at_once() -> None:
    parts = Parts()
    parts.store.create("a", 2)
    parts.store.create("b", 1)
    await parts.reserve({"b": 1})
    leaving = parts.reserving({"a": 2}, {"b": 1})  # the second waits for a unit in doubt
    await let_run()
    waiting = parts.reserving({"a": 2})
    await let_run()
    assert verdicts(waiting) == [None]
    await _cancelled(leaving)  # type: ignore[arg-type]
    await asyncio.wait([waiting])
    assert verdicts(waiting) == [GRANTED]
    assert clock() == 0


@in_virtual_time
async def test_it_is_no_longer_in_the_way_of_others() -> None:
    parts = Parts()
    parts.store.create("a", 2)
    first = await parts.reserve({"a": 1})
    leaving = parts.reserving({"a": 2})
    await let_run()
    waiting = parts.reserving({"a": 1})
    await let_run()
    assert verdicts(waiting) == [None]
    await _cancelled(leaving)  # type: ignore[arg-type]
    assert (await waiting).verdicts == [GRANTED]
    await parts.sell(first, {})
    await parts.sell(waiting.result(), {})
    await let_run()
    parts.check_quiet()


@in_virtual_time
async def test_units_that_were_being_taken_for_it_go_back() -> None:
    parts = Parts()
    parts.store.create("a", 2)
    parts.store.answering.clear()
    leaving = parts.reserving({"a": 2})
    await let_run()
    await _cancelled(leaving)  # type: ignore[arg-type]
    parts.store.answering.set()
    await let_run()
    assert parts.store.available("a") == 2
    parts.check_quiet()


@in_virtual_time
async def test_leaving_at_the_very_moment_of_the_answer_frees_the_units_too() -> None:
    for turns in range(30):
        parts = Parts()
        parts.store.create("a", 2)
        leaving = parts.reserving({"a": 2})
        await let_run(turns)
        if leaving.done():
            break
        await _cancelled(leaving)  # type: ignore[arg-type]
        await let_run()
        parts.check_quiet()
    assert turns > 2
