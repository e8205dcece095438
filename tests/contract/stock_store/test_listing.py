"""Paging shows every SKU once."""

import asyncio
from uuid import uuid4

import pytest

from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, SkuSummary, StockStore

from .ledgers import restocked


async def _list_all(store: StockStore, limit: int) -> list[SkuSummary]:
    found: list[SkuSummary] = []
    page = await store.list_skus(None, limit)
    while True:
        assert len(page.skus) <= limit
        found.extend(page.skus)
        if page.next_after is None:
            return found
        assert page.next_after == page.skus[-1].sku
        page = await store.list_skus(page.next_after, limit)


@pytest.mark.parametrize("limit", [1, 3, 1_000])
async def test_pages_are_complete_and_without_repeats(store: StockStore, limit: int) -> None:
    mine = {f"sku-{uuid4()}" for _ in range(9)}
    await asyncio.gather(*(store.create_sku(sku, StockPolicy.ESCROW) for sku in mine))
    found = [summary.sku for summary in await _list_all(store, limit)]
    assert len(found) == len(set(found))
    assert mine <= set(found)


async def test_a_last_page_that_is_full_has_no_next(store: StockStore) -> None:
    await store.create_sku(f"sku-{uuid4()}", StockPolicy.ESCROW)
    everything = await store.list_skus(None, 10_000)
    page = await store.list_skus(None, len(everything.skus))
    assert page.next_after is None
    assert page.skus == everything.skus


async def test_summaries_say_policy_and_what_is_available(store: StockStore, new_sku: str) -> None:
    await store.create_sku(new_sku, StockPolicy.COUNTER)
    await restocked(store, new_sku, 5)
    await restocked(store, new_sku, 7)
    assert await store.take(new_sku, uuid4(), None, 2) == Applied()
    assert SkuSummary(new_sku, StockPolicy.COUNTER, 10) in await _list_all(store, 100)


async def test_nothing_follows_the_last_sku(store: StockStore) -> None:
    await store.create_sku(f"sku-{uuid4()}", StockPolicy.ESCROW)
    last = (await _list_all(store, 100))[-1].sku
    assert await store.list_skus(last, 10) == ([], None)
