"""What an incarnation sold of a counter SKU: its cells only ever add, until what they should hold is stated."""

import asyncio
from uuid import uuid4

from sluice.seams.stock_store import ALL_CELLS, Cell, Consistency, Counts, StockStore


async def test_a_sku_of_which_nothing_was_counted_has_no_cells(store: StockStore, sku: str) -> None:
    assert await store.counts(sku, Consistency.QUORUM) == Counts({}, {})


async def test_adding_nothing_makes_the_cell_and_may_be_repeated(store: StockStore, sku: str) -> None:
    cell = Cell(uuid4(), 0)
    for _ in range(2):
        await store.add_sold(sku, cell, 0)
        assert await store.counts(sku, Consistency.QUORUM) == Counts({cell: 0}, {})


async def test_every_addition_counts_negative_ones_too(store: StockStore, sku: str) -> None:
    mine, other = Cell(uuid4(), 0), Cell(uuid4(), 0)
    for cell, units in ((mine, 5), (mine, -2), (other, 7), (mine, 5), (other, -10)):
        await store.add_sold(sku, cell, units)
    for consistency in Consistency:
        assert await store.counts(sku, consistency) == Counts({mine: 8, other: -3}, {})


async def test_additions_at_once_all_count(store: StockStore, sku: str) -> None:
    cells = [Cell(uuid4(), 0), Cell(uuid4(), 0)]
    await asyncio.gather(*(store.add_sold(sku, cell, units) for units in range(1, 11) for cell in cells))
    assert (await store.counts(sku, Consistency.QUORUM)).added == dict.fromkeys(cells, 55)


async def test_numbers_keep_the_cells_of_one_incarnation_apart(store: StockStore, sku: str) -> None:
    incarnation = uuid4()
    await store.add_sold(sku, Cell(incarnation, 0), 3)
    await store.add_sold(sku, Cell(incarnation, 1), 4)
    assert (await store.counts(sku, Consistency.QUORUM)).added == {Cell(incarnation, 0): 3, Cell(incarnation, 1): 4}


async def test_a_cell_is_closed_whether_or_not_it_was_added_to_and_again_with_the_same(
    store: StockStore, sku: str
) -> None:
    incarnation = uuid4()
    used, unused, everything = Cell(incarnation, 0), Cell(incarnation, 1), Cell(incarnation, ALL_CELLS)
    await store.add_sold(sku, used, 3)
    for _ in range(2):
        await store.close_cell(sku, used, 8)
        await store.close_cell(sku, unused, 0)
        await store.close_cell(sku, everything, -4)
        assert await store.counts(sku, Consistency.QUORUM) == Counts({used: 3}, {used: 8, unused: 0, everything: -4})


async def test_what_lands_after_the_closing_is_told_apart(store: StockStore, sku: str) -> None:
    cell = Cell(uuid4(), 0)
    await store.close_cell(sku, cell, 8)
    await store.add_sold(sku, cell, 5)
    assert await store.counts(sku, Consistency.QUORUM) == Counts({cell: 5}, {cell: 8})


async def test_counts_are_of_one_sku(store: StockStore, sku: str, new_sku: str) -> None:
    other = f"{new_sku}-other"
    await store.add_sold(other, Cell(uuid4(), 0), 5)
    await store.close_cell(other, Cell(uuid4(), 0), 5)
    assert await store.counts(sku, Consistency.QUORUM) == Counts({}, {})


async def test_counts_are_not_in_the_ledger(store: StockStore, sku: str) -> None:
    await store.add_sold(sku, Cell(uuid4(), 0), 5)
    ledger = await store.read(sku, Consistency.STRONG)
    assert ledger is not None
    assert (ledger.available, ledger.restocks, ledger.held) == (0, {}, {})
