"""Takes back what fenced incarnations held and did not sell.

A fenced incarnation cannot sell any more, so what the journal says it sold is final: its ledger row shrinks to that,
and the rest is available again. May be repeated at any time: a late write of a zombie may strand units again.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog

from journal.protocol import Journal
from sluice.errors import StoreUnreachable
from sluice.seams.stock_store import Applied, Consistency, StockStore

_log = structlog.get_logger(__name__)


async def reclaim(incarnations: Sequence[UUID], journal: Journal, store: StockStore) -> int:
    """Folds every row of the fenced `incarnations`; returns the units that came back.

    Raises StoreUnreachable or JournalUnreachable: then call it again, nothing is lost.
    """
    units_back = 0
    for incarnation in incarnations:
        skus = await store.skus_noted(incarnation)
        spent = await journal.spent(incarnation) if skus else {}
        for sku in skus:
            units_back += await _fold(incarnation, sku, spent.get(sku, 0), store)
    if units_back:
        _log.info("reclaimed units of earlier starts", units=units_back)
    return units_back


async def _fold(incarnation: UUID, sku: str, sold: int, store: StockStore) -> int:
    """Folds one row, as often as it changes under our hands."""
    while True:
        ledger = await store.read(sku, Consistency.STRONG)
        row = ledger.held.get(incarnation) if ledger else None
        if row is None or row.units <= sold:
            return 0
        try:
            outcome = await store.fold(sku, incarnation, row, sold)
        except StoreUnreachable as error:
            if not error.outcome_unknown:
                raise
            continue  # the strong read says whether it happened
        if isinstance(outcome, Applied):
            return row.units - sold
