"""Units that nobody has are withdrawn once, however often it is sent: all of them or none."""

import asyncio
from uuid import uuid4

from sluice.seams.stock_store import Applied, Consistency, NoSuchSku, Refused, Row, StockStore

from .ledgers import ledger_of, restocked


async def test_what_is_withdrawn_is_not_available_and_not_restocked(store: StockStore, sku: str) -> None:
    delivery, withdrawal = await restocked(store, sku, 9), uuid4()
    assert await store.withdraw(sku, withdrawal, 4) == Applied()
    ledger = await ledger_of(store, sku)
    assert ledger.available == 5
    assert ledger.restocks == {delivery: 9, withdrawal: -4}


async def test_the_same_withdrawal_again_is_refused_and_shows_what_its_row_holds(store: StockStore, sku: str) -> None:
    delivery, withdrawal = await restocked(store, sku, 9), uuid4()
    await store.withdraw(sku, withdrawal, 4)
    for units in (4, 6):  # the second is more than there is, too
        assert await store.withdraw(sku, withdrawal, units) == Refused(available=5, row=Row(-4, 1))
    assert await store.withdraw(sku, delivery, 1) == Refused(available=5, row=Row(9, 1))
    assert await store.restock(sku, withdrawal, 4) == Refused(available=5, row=Row(-4, 1))
    assert (await ledger_of(store, sku)).available == 5


async def test_units_that_a_server_holds_cannot_be_withdrawn(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 9)
    incarnation, withdrawal = uuid4(), uuid4()
    assert await store.take(sku, incarnation, None, 6) == Applied()
    assert await store.withdraw(sku, withdrawal, 4) == Refused(available=3, row=None)
    assert await store.withdraw(sku, withdrawal, 3) == Applied()
    assert await store.take(sku, incarnation, Row(6, 1), 1) == Refused(available=0, row=Row(6, 1))
    assert await store.take(sku, incarnation, Row(6, 1), -6) == Applied()
    assert (await ledger_of(store, sku)).available == 6


async def test_takes_and_withdrawals_at_once_share_what_there_is(store: StockStore, sku: str) -> None:
    await restocked(store, sku, 10)
    takes = [store.take(sku, uuid4(), None, 1) for _ in range(12)]
    outcomes = await asyncio.gather(*takes, *(store.withdraw(sku, uuid4(), 1) for _ in range(12)))
    assert outcomes.count(Applied()) == 10
    ledger = await ledger_of(store, sku)
    assert ledger.available == 0
    assert sum(ledger.restocks.values()) == sum(row.units for row in ledger.held.values())


async def test_nothing_is_withdrawn_from_a_sku_that_was_never_created(store: StockStore, new_sku: str) -> None:
    assert await store.withdraw(new_sku, uuid4(), 1) == NoSuchSku()
    assert await store.read(new_sku, Consistency.STRONG) is None
