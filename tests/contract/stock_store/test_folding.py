"""A fenced incarnation's row shrinks to what it sold, again and again if late writes grow it again."""

from uuid import uuid4

from sluice.seams.stock_store import Applied, Consistency, NoSuchSku, Refused, Row, StockStore

from .ledgers import ledger_of, restocked


async def test_what_was_not_sold_is_available_again(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    fenced = uuid4()
    await store.take(sku, fenced, None, 8)
    assert await store.fold(sku, fenced, Row(8, 1), 3) == Applied()
    ledger = await ledger_of(store, sku)
    assert (ledger.available, ledger.held) == (7, {fenced: Row(3, 2)})


async def test_a_fold_sent_again_is_refused_and_shows_what_was_sold(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    fenced = uuid4()
    await store.take(sku, fenced, None, 8)
    await store.fold(sku, fenced, Row(8, 1), 3)
    assert await store.fold(sku, fenced, Row(8, 1), 3) == Refused(available=7, row=Row(3, 2))
    assert await store.fold(sku, fenced, Row(3, 2), 3) == Applied()
    ledger = await ledger_of(store, sku)
    assert (ledger.available, ledger.held) == (7, {fenced: Row(3, 3)})


async def test_a_late_take_after_a_fold_is_seen_and_folded_again(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    fenced = uuid4()
    await store.take(sku, fenced, None, 3)
    assert await store.fold(sku, fenced, Row(3, 1), 3) == Applied()
    assert await store.take(sku, fenced, Row(3, 2), 5) == Applied()
    assert (await ledger_of(store, sku)).held == {fenced: Row(8, 3)}
    assert await store.fold(sku, fenced, Row(3, 2), 3) == Refused(available=2, row=Row(8, 3))
    assert await store.fold(sku, fenced, Row(8, 3), 3) == Applied()
    ledger = await ledger_of(store, sku)
    assert (ledger.available, ledger.held) == (7, {fenced: Row(3, 4)})


async def test_late_copies_of_writes_from_before_the_fold_are_refused(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    fenced = uuid4()
    await store.take(sku, fenced, None, 8)
    await store.fold(sku, fenced, Row(8, 1), 8)
    for before, count in ((None, 8), (Row(8, 1), 2), (Row(8, 1), -8)):
        assert await store.take(sku, fenced, before, count) == Refused(available=2, row=Row(8, 2))


async def test_an_incarnation_without_a_row_has_nothing_to_fold(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    assert await store.fold(sku, uuid4(), Row(4, 1), 0) == Refused(available=10, row=None)
    assert (await ledger_of(store, sku)).held == {}


async def test_a_sku_that_was_never_created_is_not_folded(store: StockStore, new_sku: str) -> None:
    assert await store.fold(new_sku, uuid4(), Row(4, 1), 0) == NoSuchSku()
    assert await store.read(new_sku, Consistency.STRONG) is None


async def test_an_incarnation_without_a_row_to_which_units_came_back_gets_one(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    seller, fenced = uuid4(), uuid4()
    await store.take(sku, seller, None, 4)
    assert await store.fold(sku, fenced, None, -3) == Applied()
    ledger = await ledger_of(store, sku)
    assert (ledger.available, ledger.held) == (9, {seller: Row(4, 1), fenced: Row(-3, 1)})
    assert await store.fold(sku, fenced, None, -3) == Refused(available=9, row=Row(-3, 1))
    assert await store.take(sku, fenced, None, 1) == Refused(available=9, row=Row(-3, 1))
