"""Orders that were refused because the ledger did not answer are in the log, with the reason: one line a second."""

import asyncio

from structlog.testing import capture_logs

from stockd.unanswered import TELL_AFTER_S
from tests.unit.stock_engine.parts import STORE_TIMEOUT_S, Parts
from tests.unit.virtual_time import in_virtual_time


@in_virtual_time
async def test_all_of_a_second_are_one_line() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.away = True
    with capture_logs() as lines:
        await parts.reserve({"a": 1}, {"a": 1}, {"b": 1})
        assert lines == [], "more may come"
        await asyncio.sleep(TELL_AFTER_S)
    (line,) = lines
    assert (line["orders"], line["skus"], line["one_of_them"]) == (3, 2, "a")
    assert "away" in line["last_reason"]


@in_virtual_time
async def test_those_of_the_next_second_are_another() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.away = True
    with capture_logs() as lines:
        for _ in range(2):
            await parts.reserve({"a": 1})
            await asyncio.sleep(TELL_AFTER_S)
    assert [line["orders"] for line in lines] == [1, 1]


@in_virtual_time
async def test_who_waited_in_vain_is_told_of_too() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.answering.clear()
    with capture_logs() as lines:
        await parts.reserve({"a": 1})
        await asyncio.sleep(TELL_AFTER_S)
    assert [line["orders"] for line in lines] == [1]


@in_virtual_time
async def test_how_long_the_ledger_took_is_counted_whether_it_answered_or_not() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    await parts.reserve({"a": 1})
    assert parts.registry.get_sample_value("sluice_stockd_take_seconds_count") == 1
    parts.store.away = True
    await parts.reserve({"a": 5}, timeout_s=STORE_TIMEOUT_S)
    assert parts.registry.get_sample_value("sluice_stockd_take_seconds_count") == 2
