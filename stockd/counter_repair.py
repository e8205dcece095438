"""Brings the counter of one SKU right: of every incarnation that cannot sell any more it then says what that sold.

The stock servers do this by themselves as they reclaim; this is for who looks at one SKU. It writes what is final, so
it is harmless when run twice, by two at once, or against a running sale. Incarnations that may still sell count by
themselves, within the refresh interval, and are only looked at.
"""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from journal.protocol import Journals
from sluice.counting import drift, open_sellers
from sluice.seams.stock_store import ALL_CELLS, Cell, Consistency, StockStore


class CounterDrift(NamedTuple):
    """Counted minus sold, by incarnation; those that agree are not in it. Of the `gone`, who cannot sell any more, it
    is wrong. Of the `living` it is what they are about to count, mostly negative: in a quiet system it is empty after
    one refresh interval. `final`: what those sold of whom the counter has not been told, right or wrong.
    """

    gone: Mapping[UUID, int]
    living: Mapping[UUID, int]
    final: Mapping[UUID, int]


async def repair_counter(sku: str, journal: Journals, store: StockStore) -> CounterDrift:
    """States what the gone have sold. Returns what was found before. Raises StoreUnreachable, JournalUnreachable: then
    call it again.
    """
    found = await counter_drift(sku, journal, store)
    for incarnation, sold in found.final.items():
        await store.close_cell(sku, Cell(incarnation, ALL_CELLS), sold)
    return found


async def counter_drift(sku: str, journal: Journals, store: StockStore) -> CounterDrift:
    """What `repair_counter` would find now. Raises as it does."""
    counts = await store.counts(sku, Consistency.QUORUM)
    sellers = open_sellers(counts)
    # Read after the counts: who is not among them now was never registered, or has been forgotten since it was fenced.
    living = {row.incarnation for row in await journal.incarnations() if not row.fenced}
    spent = {seller: (await journal.spent(seller)).get(sku, 0) for seller in sellers}
    gone = sellers - living
    return CounterDrift(
        drift(counts, spent, gone), drift(counts, spent, sellers & living), {each: spent[each] for each in gone}
    )
