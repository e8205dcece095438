"""Over how many stock servers a SKU's orders are spread is kept with its stock, and is no stock."""

from uuid import uuid4

from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, StockStore

from .ledgers import ledger_of, restocked


async def test_a_new_sku_has_one_owner(store: StockStore, sku: str) -> None:
    assert (await ledger_of(store, sku)).owners == 1


async def test_what_was_said_last_is_read_and_no_unit_moves(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 7)
    assert await store.take(sku, uuid4(), None, 3) == Applied()
    before = await ledger_of(store, sku)
    assert await store.spread(sku, 3) is True
    assert await ledger_of(store, sku) == before._replace(owners=3)
    assert await store.create_sku(sku, StockPolicy.EXACT) is StockPolicy.EXACT
    assert (await ledger_of(store, sku)).owners == 3
    assert await store.spread(sku, 1) is True
    assert await ledger_of(store, sku) == before


async def test_a_sku_does_not_come_to_be_by_it(store: StockStore, new_sku: str) -> None:
    assert await store.spread(new_sku, 2) is False
    assert await store.read(new_sku, Consistency.STRONG) is None
    assert new_sku not in {summary.sku for summary in (await store.list_skus(None, 1_000)).skus}
