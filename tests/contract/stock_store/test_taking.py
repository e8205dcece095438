"""Units move between what is available and an incarnation's row, only from the state that the caller believes in."""

from uuid import uuid4

import pytest

from sluice.seams.stock_store import Applied, Consistency, NoSuchSku, Refused, Row, StockStore

from .ledgers import ledger_of, restocked


async def test_takes_add_up_in_the_incarnations_row(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    mine, other = uuid4(), uuid4()
    assert await store.take(sku, mine, None, 4) == Applied()
    assert await store.take(sku, other, None, 1) == Applied()
    assert await store.take(sku, mine, Row(4, 1), 5) == Applied()
    ledger = await ledger_of(store, sku)
    assert ledger.available == 0
    assert ledger.held == {mine: Row(9, 2), other: Row(1, 1)}


@pytest.mark.parametrize("before", [None, Row(2, 1)])
async def test_more_than_is_available_is_refused_whole(store: StockStore, sku: str, before: Row | None) -> None:
    mine = uuid4()
    await restocked(store, sku, 5)
    if before is not None:
        assert await store.take(sku, mine, None, before.units) == Applied()
    left = 5 - (before.units if before else 0)
    assert await store.take(sku, mine, before, left + 1) == Refused(available=left, row=before)
    assert (await ledger_of(store, sku)).available == left


async def test_a_take_that_was_applied_is_refused_when_sent_again_and_shows_the_wanted_row(
    store: StockStore, sku: str
) -> None:
    await restocked(store, sku, 10)
    mine = uuid4()
    assert await store.take(sku, mine, None, 4) == Applied()
    assert await store.take(sku, mine, None, 4) == Refused(available=6, row=Row(4, 1))
    assert await store.take(sku, mine, Row(4, 1), 3) == Applied()
    assert await store.take(sku, mine, Row(4, 1), 3) == Refused(available=3, row=Row(7, 2))
    assert (await ledger_of(store, sku)).available == 3


async def test_a_row_that_holds_nothing_is_not_the_same_as_no_row(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 3)
    mine = uuid4()
    assert await store.take(sku, mine, Row(0, 0), 1) == Refused(available=3, row=None)
    assert await store.take(sku, mine, None, 2) == Applied()
    assert await store.take(sku, mine, Row(2, 1), -2) == Applied()
    assert await store.take(sku, mine, None, 1) == Refused(available=3, row=Row(0, 2))
    assert await store.take(sku, mine, Row(0, 2), 1) == Applied()


async def test_units_and_version_must_both_be_as_believed(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    mine = uuid4()
    await store.take(sku, mine, None, 4)
    for wrong in (Row(4, 2), Row(5, 1), Row(4, 0)):
        assert await store.take(sku, mine, wrong, 1) == Refused(available=6, row=Row(4, 1))


async def test_units_given_back_are_available_again_and_only_once(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    mine = uuid4()
    await store.take(sku, mine, None, 10)
    assert await store.take(sku, mine, Row(10, 1), -4) == Applied()
    assert await store.take(sku, mine, Row(10, 1), -4) == Refused(available=4, row=Row(6, 2))
    assert (await ledger_of(store, sku)).held == {mine: Row(6, 2)}


async def test_a_late_copy_of_a_give_back_is_refused_though_the_row_holds_as_much_as_it_did_then(
    store: StockStore, sku: str
) -> None:
    await restocked(store, sku, 10)
    mine = uuid4()
    await store.take(sku, mine, None, 8)
    assert await store.take(sku, mine, Row(8, 1), -3) == Applied()
    assert await store.take(sku, mine, Row(5, 2), 3) == Applied()
    assert await store.take(sku, mine, Row(8, 1), -3) == Refused(available=2, row=Row(8, 3))
    assert (await ledger_of(store, sku)).held == {mine: Row(8, 3)}


async def test_a_sku_that_was_never_created_is_neither_taken_nor_made(store: StockStore, new_sku: str) -> None:
    mine = uuid4()
    for before, count in ((None, 1), (Row(5, 1), 1), (Row(5, 1), -5)):
        assert await store.take(new_sku, mine, before, count) == NoSuchSku()
    assert await store.read(new_sku, Consistency.STRONG) is None


async def test_restocks_and_takes_of_one_id_do_not_meet(store: StockStore, sku: str) -> None:
    one_id = uuid4()
    assert await store.restock(sku, one_id, 8) == Applied()
    assert await store.take(sku, one_id, None, 3) == Applied()
    ledger = await ledger_of(store, sku)
    assert (ledger.restocks, ledger.held) == ({one_id: 8}, {one_id: Row(3, 1)})


async def test_more_may_be_given_back_than_was_taken_and_be_taken_again(store: StockStore, sku: str) -> None:
    """Units of orders that another server sold came back to this one."""
    await restocked(store, sku, 10)
    seller, other = uuid4(), uuid4()
    await store.take(sku, seller, None, 6)
    assert await store.take(sku, other, None, -2) == Applied()
    assert await store.take(sku, other, Row(-2, 1), -3) == Applied()
    assert await store.take(sku, other, None, -2) == Refused(available=9, row=Row(-5, 2))
    assert await store.take(sku, other, Row(-5, 2), 7) == Applied()
    ledger = await ledger_of(store, sku)
    assert (ledger.available, ledger.held) == (2, {seller: Row(6, 1), other: Row(2, 3)})
