"""What a test sees of a ledger."""

from uuid import UUID, uuid4

from sluice.seams.stock_store import Applied, Consistency, Ledger, StockStore


async def ledger_of(store: StockStore, sku: str) -> Ledger:
    """The rows now, after checking that no unit came or went."""
    ledger = await store.read(sku, Consistency.STRONG)
    assert ledger is not None
    assert sum(ledger.restocks.values()) == ledger.available + sum(row.units for row in ledger.held.values())
    return ledger


async def restocked(store: StockStore, sku: str, units: int) -> UUID:
    restock_id = uuid4()
    assert await store.restock(sku, restock_id, units) == Applied()
    return restock_id
