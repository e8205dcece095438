"""GetStock of a counter SKU: what is sold and not counted yet is not shown as available."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from gateway.stock_reading import StockReading
from sluice.model import StockPolicy
from sluice.seams.stock_store import Cell, Consistency
from tests.unit.fake_stock_store import FakeStockStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CELL = Cell(UUID(int=1), 0)


class Sales:
    """What the journal says."""

    def __init__(self, sold: int) -> None:
        self._sold = sold

    async def sold(self, skus: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(skus, self._sold)


@pytest.mark.parametrize(
    ("counted", "sold", "available"),
    [
        pytest.param(60, 60, 40, id="all is counted"),
        pytest.param(60, 75, 25, id="sold, and counted in a moment"),
        pytest.param(99, 100, 0, id="the last one"),
        pytest.param(80, 75, 20, id="returned, and counted as returned in a moment"),
        pytest.param(100, 130, 0, id="oversold"),
    ],
)
async def test_it_adds_up_within_the_bounds(counted: int, sold: int, available: int) -> None:
    store = FakeStockStore()
    store.create("a", 100, StockPolicy.COUNTER)
    await store.add_sold("a", CELL, counted)
    reading = StockReading(store, Sales(sold), now=lambda: NOW)  # type: ignore[arg-type]  # what it uses of a journal
    stock = (await reading.read(["a"], Consistency.QUORUM))["a"]
    assert stock.available == available
    off = stock.available + stock.escrow + stock.sold - stock.restocked
    assert -stock.max_undersell <= off <= stock.max_oversell
