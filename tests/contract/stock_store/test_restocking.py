"""A restock counts once, however often it is sent."""

import asyncio
from uuid import uuid4

from sluice.model import MAX_RESTOCK_UNITS
from sluice.seams.stock_store import Applied, Consistency, NoSuchSku, Refused, Row, StockStore

from .ledgers import ledger_of


async def test_restocks_add_up_under_their_ids(store: StockStore, sku: str) -> None:
    first, second = uuid4(), uuid4()
    assert await store.restock(sku, first, 5) == Applied()
    assert await store.restock(sku, second, MAX_RESTOCK_UNITS) == Applied()
    ledger = await ledger_of(store, sku)
    assert ledger.available == 5 + MAX_RESTOCK_UNITS
    assert ledger.restocks == {first: 5, second: MAX_RESTOCK_UNITS}


async def test_the_same_restock_again_is_refused_and_shows_what_its_row_holds(store: StockStore, sku: str) -> None:
    restock_id = uuid4()
    await store.restock(sku, restock_id, 5)
    assert await store.restock(sku, restock_id, 5) == Refused(available=5, row=Row(5, 1))
    assert await store.restock(sku, restock_id, 6) == Refused(available=5, row=Row(5, 1))
    assert (await ledger_of(store, sku)).available == 5


async def test_copies_sent_at_once_count_once(store: StockStore, sku: str) -> None:
    restock_id = uuid4()
    outcomes = await asyncio.gather(*(store.restock(sku, restock_id, 9) for _ in range(6)))
    assert outcomes.count(Applied()) == 1
    assert outcomes.count(Refused(available=9, row=Row(9, 1))) == 5


async def test_a_sku_that_was_never_created_cannot_be_restocked(store: StockStore, new_sku: str) -> None:
    assert await store.restock(new_sku, uuid4(), 5) == NoSuchSku()
    assert await store.read(new_sku, Consistency.STRONG) is None
