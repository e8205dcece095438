"""Any number of takers at once take no more than there is, and each one's own count is its row."""

import asyncio
from random import Random
from uuid import UUID, uuid4

from sluice.seams.stock_store import Applied, Refused, Row, StockStore

from .ledgers import ledger_of, restocked

TAKERS = 8
STOCK = 60


async def _take_until_empty(store: StockStore, sku: str, incarnation: UUID, random: Random) -> Row | None:
    held: Row | None = None
    while True:
        count = random.randint(1, 3)
        outcome = await store.take(sku, incarnation, held, count)
        if outcome == Applied():
            held = Row(held.units + count, held.version + 1) if held else Row(count, 1)
            continue
        assert isinstance(outcome, Refused)
        assert outcome.row == held
        if outcome.available == 0:
            return held


async def test_takers_at_once_share_the_stock_exactly(store: StockStore, sku: str) -> None:
    await restocked(store, sku, STOCK)
    takers = [uuid4() for _ in range(TAKERS)]
    held = await asyncio.gather(
        *(_take_until_empty(store, sku, taker, Random(number)) for number, taker in enumerate(takers))
    )
    ledger = await ledger_of(store, sku)
    assert ledger.available == 0
    assert ledger.held == {taker: row for taker, row in zip(takers, held, strict=True) if row is not None}


async def test_of_copies_of_one_take_sent_at_once_one_is_applied(store: StockStore, sku: str) -> None:
    await restocked(store, sku, STOCK)
    incarnation = uuid4()
    outcomes = await asyncio.gather(*(store.take(sku, incarnation, None, 5) for _ in range(6)))
    assert outcomes.count(Applied()) == 1
    assert outcomes.count(Refused(available=STOCK - 5, row=Row(5, 1))) == 5
    assert (await ledger_of(store, sku)).held == {incarnation: Row(5, 1)}
