"""What `escrow` writes to the ledger for an order: little of a SKU that sells fast, and of one that sells now and then
hardly more than `exact`, which writes once. Orders come at random, as buyers do.
"""

import asyncio
from random import Random

import pytest

from sluice.model import StockPolicy
from tests.unit.stock_engine.parts import Parts
from tests.unit.virtual_time import clock, in_virtual_time

SKUS = [f"sku-{number}" for number in range(20)]
SECONDS = 40
LEDGER_TAKES_S = 0.004


@pytest.mark.parametrize(
    ("orders_per_s", "writes_an_order"),
    [(0.2, 1.4), (1.0, 1.0), (5.0, 0.15), (30.0, 0.03)],  # with one order taken for a demand: 2.4, 1.1, 0.13, 0.03
)
@in_virtual_time
async def test_of_each_sku(orders_per_s: float, writes_an_order: float) -> None:
    parts = Parts()
    for sku in SKUS:
        parts.store.create(sku, 10_000_000, StockPolicy.ESCROW)
    take = parts.store.take

    async def take_as_a_ledger_does(*asked: object) -> object:
        await asyncio.sleep(LEDGER_TAKES_S)
        return await take(*asked)  # type: ignore[arg-type]

    parts.store.take = take_as_a_ledger_does  # type: ignore[method-assign,assignment]
    random, sold = Random(7), 0
    async with parts.housekeeping(), asyncio.TaskGroup() as buyers:
        while clock() < SECONDS:
            await asyncio.sleep(random.expovariate(orders_per_s * len(SKUS)))
            buyers.create_task(_buy(parts, random.choice(SKUS)))
            sold += 1
    assert len(parts.store.sent) <= writes_an_order * sold


async def _buy(parts: Parts, sku: str) -> None:
    await parts.sell(await parts.reserve({sku: 1}), {sku: 1})
