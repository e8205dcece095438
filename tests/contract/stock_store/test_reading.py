"""Reads at every level show a write that has been answered, when all copies are up."""

from uuid import uuid4

import pytest

from sluice.model import StockPolicy
from sluice.seams.stock_store import Consistency, Ledger, Row, StockStore

from .ledgers import restocked


@pytest.mark.parametrize("consistency", Consistency)
async def test_a_read_shows_all_rows(store: StockStore, sku: str, consistency: Consistency) -> None:
    restock_id = await restocked(store, sku, 10)
    first, second = uuid4(), uuid4()
    await store.take(sku, first, None, 2)
    await store.take(sku, second, None, 3)
    assert await store.read(sku, consistency) == Ledger(
        sku, StockPolicy.EXACT, 5, {restock_id: 10}, {first: Row(2, 1), second: Row(3, 1)}
    )


@pytest.mark.parametrize("consistency", Consistency)
async def test_a_sku_that_was_never_created_is_not_there(
    store: StockStore, new_sku: str, consistency: Consistency
) -> None:
    assert await store.read(new_sku, consistency) is None


async def test_a_store_that_runs_answers_a_ping(store: StockStore) -> None:
    await store.ping()


@pytest.mark.parametrize("sku", ["é" * 128, "a b/c?d=1&e", "'; DROP TABLE stock; --", "日本-🎫"])
async def test_any_text_may_name_a_sku(store: StockStore, sku: str) -> None:
    await store.create_sku(sku, StockPolicy.EXACT)
    ledger = await store.read(sku, Consistency.STRONG)
    assert ledger is not None
    assert ledger.sku == sku


async def test_the_rows_of_one_incarnation_of_many_skus(store: StockStore, sku: str) -> None:
    mine, other = uuid4(), uuid4()
    skus = [f"{sku}-{number}" for number in range(30)]
    for number, each in enumerate(skus):
        await store.create_sku(each, StockPolicy.ESCROW)
        await restocked(store, each, 100)
        await store.take(each, other, None, 1)
        if number % 2:
            await store.take(each, mine, None, number)
    assert await store.rows(mine, [*skus, f"{sku}-unknown"]) == {
        each: Row(number, 1) for number, each in enumerate(skus) if number % 2
    }
    assert await store.rows(mine, []) == {}
