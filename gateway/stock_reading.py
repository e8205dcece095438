"""How the stock of SKUs stands: what was sold, by the journal, and the rest, by the ledger, so that it adds up."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from gateway.messages import timestamp
from journal.protocol import Journals
from sluice import counting
from sluice._gen.stock.v1 import stock_pb2
from sluice.model import StockPolicy
from sluice.seams.stock_store import Consistency, Ledger, StockStore

READS_AT_ONCE = 32
"""Of ledgers: a look at many SKUs must not crowd out those who sell."""


class StockReading:
    def __init__(self, store: StockStore, journal: Journals, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._journal = journal
        self._now = now

    async def read(self, skus: Sequence[str], consistency: Consistency) -> Mapping[str, stock_pb2.GetStockResponse]:
        """By SKU; SKUs that do not exist are missing. Raises StoreUnreachable, JournalUnreachable."""
        # Sales first: units move from escrow to sold, so a ledger read later covers every sale that was seen and still
        # stands. What was sold and has been returned by then is in the ledger again, and sold no more.
        sold = await self._journal.sold(skus)
        stocks: dict[str, stock_pb2.GetStockResponse] = {}
        for at in range(0, len(skus), READS_AT_ONCE):
            some = skus[at : at + READS_AT_ONCE]
            found = await asyncio.gather(*(self._read(sku, sold.get(sku, 0), consistency) for sku in some))
            stocks |= {stock.sku: stock for stock in found if stock is not None}
        return stocks

    async def _read(self, sku: str, sold: int, consistency: Consistency) -> stock_pb2.GetStockResponse | None:
        as_of = self._now()
        ledger = await self._store.read(sku, consistency)
        if ledger is None:
            return None
        if ledger.policy is StockPolicy.COUNTER:
            return await self._counted(ledger, sold, as_of, consistency)
        restocked = sum(ledger.restocks.values())
        held = sum(row.units for row in ledger.held.values())
        sold = min(sold, held)
        escrow = held - sold
        return stock_pb2.GetStockResponse(
            sku=sku,
            policy=ledger.policy,  # type: ignore[arg-type]  # the stub wants its own enum class
            restocked=restocked,
            available=ledger.available,
            escrow=escrow,
            sold=sold,
            as_of=timestamp(as_of),
            max_oversell=0,
            max_undersell=escrow,
            owners=ledger.owners,
        )

    async def _counted(
        self, ledger: Ledger, sold: int, as_of: datetime, consistency: Consistency
    ) -> stock_pb2.GetStockResponse:
        """Nothing is taken out of the ledger of a counter SKU: available is what is not counted as sold. Counts come a
        moment later than sales, and what is sold already is not available either.
        """
        counts = await self._store.counts(ledger.sku, consistency)
        restocked = sum(ledger.restocks.values())
        return stock_pb2.GetStockResponse(
            sku=ledger.sku,
            policy=ledger.policy,  # type: ignore[arg-type]  # as above
            restocked=restocked,
            available=max(0, restocked - max(counting.counted(counts), sold)),
            escrow=0,
            sold=max(0, sold),
            as_of=timestamp(as_of),
            # Orders that were cancelled after the sales were read may be counted as returned already.
            max_oversell=max(counting.max_oversell(counts, restocked), sold - restocked),
            max_undersell=counting.max_undersell(counts, restocked, sold),
            owners=ledger.owners,
        )
