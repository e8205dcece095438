"""A restock counts once, however often it is sent."""

import asyncio
from uuid import uuid4

import pytest

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


async def test_sums_of_restocks_are_exact_beyond_what_a_double_can_hold(store: StockStore, sku: str) -> None:
    incarnation = uuid4()
    for units in (2**53, 1, 10**16, 2):
        assert await store.restock(sku, uuid4(), units) == Applied()
    everything = 2**53 + 1 + 10**16 + 2
    assert everything != int(float(everything))
    assert await store.take(sku, incarnation, None, 1) == Applied()
    assert (await ledger_of(store, sku)).available == everything - 1
    assert await store.take(sku, incarnation, Row(1, 1), -1) == Applied()
    assert (await ledger_of(store, sku)).available == everything


@pytest.mark.parametrize("units", [10**15, 2**53 - 1, 2**53, 2**53 + 1, 10**16 - 1, 2**63 - 2])
async def test_one_unit_more_than_there_is_is_refused_however_many_there_are(
    store: StockStore, sku: str, units: int
) -> None:
    incarnation = uuid4()
    assert await store.restock(sku, uuid4(), units) == Applied()
    assert await store.take(sku, incarnation, None, units + 1) == Refused(available=units, row=None)
    assert await store.take(sku, incarnation, None, units - 1) == Applied()
    assert await store.take(sku, incarnation, Row(units - 1, 1), 2) == Refused(1, Row(units - 1, 1))
    assert await store.fold(sku, incarnation, Row(units - 1, 1), units - 2) == Applied()
    assert (await ledger_of(store, sku)).held == {incarnation: Row(units - 2, 2)}
    assert (await ledger_of(store, sku)).available == 2
