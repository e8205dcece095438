"""A burst over thousands of SKUs that nobody asked for before: the ledger is busy, not away, and goes on selling."""

import asyncio

from sluice.seams.stock_keeper import Verdict
from tests.unit.fake_stock_store import FakeStockStore
from tests.unit.stock_engine.parts import GRANTED, STORE_TIMEOUT_S, Parts
from tests.unit.virtual_time import in_virtual_time

LATENCY_S = 0.1
SKUS = 4_000
FEW_AT_ONCE = 48
NOTES_BESIDE = 16


def burst(parts: Parts) -> list[asyncio.Task[list[Verdict]]]:
    async def verdicts(sku: str) -> list[Verdict]:
        return [Verdict(verdict) for verdict in (await parts.reserve({sku: 1})).verdicts]

    return [asyncio.create_task(verdicts(f"sku-{number}")) for number in range(SKUS)]


@in_virtual_time
async def test_those_who_cannot_be_served_in_time_are_told_overloaded_and_the_others_are_served() -> None:
    parts = Parts(max_waiting_orders=SKUS)
    parts.store.latency_s = LATENCY_S
    for number in range(SKUS):
        parts.store.create(f"sku-{number}", 1_000_000)
    answers = [verdict for verdicts in await asyncio.gather(*burst(parts)) for verdict in verdicts]
    assert set(answers) == {GRANTED, Verdict.OVERLOADED}
    # Three requests each, of which one is shared by thirty.
    possible = STORE_TIMEOUT_S / LATENCY_S * parts.store.most_at_once / 3
    assert answers.count(GRANTED) > 0.6 * possible


@in_virtual_time
async def test_a_store_is_not_asked_for_more_skus_at_a_time_than_it_says() -> None:
    parts = Parts(max_waiting_orders=SKUS, store=FakeStockStore(skus_at_once=FEW_AT_ONCE))
    parts.store.latency_s = LATENCY_S
    for number in range(SKUS):
        parts.store.create(f"sku-{number}", 1_000_000)
    await asyncio.gather(*burst(parts))
    assert FEW_AT_ONCE <= parts.store.most_at_once <= FEW_AT_ONCE + NOTES_BESIDE


@in_virtual_time
async def test_a_ledger_that_does_not_answer_is_unreachable() -> None:
    parts = Parts(max_waiting_orders=SKUS)
    for number in range(SKUS):
        parts.store.create(f"sku-{number}", 1_000_000)
    parts.store.answering.clear()
    answers = {verdict for verdicts in await asyncio.gather(*burst(parts)) for verdict in verdicts}
    assert answers == {Verdict.LEDGER_UNREACHABLE}
