"""A SKU is created once; whoever comes later learns the policy that stands."""

import asyncio
from uuid import uuid4

import pytest

from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Ledger, StockStore

from .ledgers import ledger_of, restocked


@pytest.mark.parametrize("policy", StockPolicy)
async def test_a_new_sku_has_its_policy_and_nothing_available(
    store: StockStore, new_sku: str, policy: StockPolicy
) -> None:
    assert await store.create_sku(new_sku, policy) is None
    assert await store.read(new_sku, Consistency.STRONG) == Ledger(new_sku, policy, 0, {}, {})


async def test_creating_again_changes_nothing_and_tells_the_policy(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 7)
    assert await store.take(sku, uuid4(), None, 3) == Applied()
    before = await ledger_of(store, sku)
    assert await store.create_sku(sku, StockPolicy.COUNTER) is StockPolicy.EXACT
    assert await ledger_of(store, sku) == before


async def test_of_many_who_create_at_once_one_succeeds(store: StockStore, new_sku: str) -> None:
    answers = await asyncio.gather(*(store.create_sku(new_sku, StockPolicy.ESCROW) for _ in range(8)))
    assert answers.count(None) == 1
    assert answers.count(StockPolicy.ESCROW) == 7
