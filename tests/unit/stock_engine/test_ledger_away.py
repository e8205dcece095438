"""With the ledger away every order is told so in time, and none hangs."""

import asyncio

import pytest

from tests.unit.stock_engine.parts import GRANTED, LEDGER_UNREACHABLE, STORE_TIMEOUT_S, Parts, verdicts
from tests.unit.virtual_time import clock, in_virtual_time, let_run


@in_virtual_time
async def test_a_store_that_refuses_to_be_called_is_told_of_at_once() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.away = True
    assert (await parts.reserve({"a": 1}, {"a": 1})).verdicts == [LEDGER_UNREACHABLE] * 2
    assert clock() == 0


@in_virtual_time
async def test_a_store_that_hangs_is_told_of_when_the_time_is_up() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.answering.clear()
    reservation = await parts.reserve({"a": 1}, {"a": 1, "b": 1})
    assert (reservation.verdicts, reservation.seq) == ([LEDGER_UNREACHABLE] * 2, 0)
    assert clock() == pytest.approx(STORE_TIMEOUT_S)


@in_virtual_time
async def test_a_caller_with_less_time_is_told_before_its_own_time_is_up() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.answering.clear()
    assert (await parts.reserve({"a": 1}, timeout_s=0.4)).verdicts == [LEDGER_UNREACHABLE]
    assert clock() < 0.4


@in_virtual_time
async def test_a_cart_that_has_one_line_and_cannot_learn_of_the_other_gives_the_one_back() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.create("b", 5)
    hang = asyncio.Event()
    take = parts.store.take

    async def b_hangs(sku: str, *rest: object) -> object:
        if sku == "b":
            await hang.wait()
        return await take(sku, *rest)  # type: ignore[arg-type]

    parts.store.take = b_hangs  # type: ignore[method-assign,assignment]
    reservation = await parts.reserve({"a": 1, "b": 1})
    assert (reservation.verdicts, reservation.blamed) == ([LEDGER_UNREACHABLE], [0])
    await let_run()
    assert parts.held("a") == 0
    hang.set()
    await let_run()
    parts.check_quiet()


@in_virtual_time
async def test_when_it_is_back_orders_are_served_again() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.answering.clear()
    await parts.reserve({"a": 1})
    parts.store.answering.set()
    assert (await parts.reserve({"a": 5})).verdicts == [GRANTED]


@in_virtual_time
async def test_above_the_bound_nobody_waits() -> None:
    parts = Parts(max_waiting_orders=3)
    parts.store.create("a", 5)
    parts.store.answering.clear()
    waiting = parts.reserving({"a": 1}, {"a": 1})
    await let_run()
    refused = await parts.reserve({"a": 1}, {"a": 1})
    assert [verdict.name for verdict in refused.verdicts] == ["OVERLOADED"] * 2  # type: ignore[attr-defined]
    parts.store.answering.set()
    await asyncio.wait([waiting])
    assert verdicts(waiting) == [GRANTED]
    assert (await parts.reserve({"a": 1}, {"a": 1}, {"a": 1})).verdicts == [GRANTED] * 3
