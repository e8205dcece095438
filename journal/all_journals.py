"""All journals of a cluster as one, for those who ask about all of them. Not on the way of an order: that goes straight
to the journal that its id picks.

A stock server sells from one escrow into all journals. So it is registered in all before it sells, and fenced in all
before anybody folds what it held: only then is the sum of what it sold final. The first journal leads: whoever is
registered or fenced anywhere was so there before. Therefore beats, silence and reclaims are kept in the first alone.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Protocol, TypeVar
from uuid import UUID

from journal.protocol import Backlog, IncarnationRow, Journal, Journals
from sluice.model import Order
from sluice.sharding import divided

T = TypeVar("T")

SCAN_PAGE = 2_000
"""Orders per page of a scan: about 1 MB in memory."""


class Shard(Journal, Protocol):
    """One of several journals."""

    async def fence_besides(self, row: IncarnationRow) -> None:
        """No transaction that spends from the incarnation commits here after this returns, whether or not it was
        registered here before. Changes nothing that is asked of the first journal.
        """
        ...


class AllJournals:
    """See `journal.protocol.Journals`."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self._first = shards[0]
        self._rest = shards[1:]

    async def register(self, name: str, incarnation: UUID, now: datetime) -> Sequence[UUID]:
        """In one after the other. It must not sell before this returns."""
        fenced: dict[UUID, None] = {}
        for journal in self.shards:
            fenced |= dict.fromkeys(await journal.register(name, incarnation, now))
        return list(fenced)

    async def beat(self, incarnation: UUID) -> None:
        await self._first.beat(incarnation)

    async def silent(self, limit_s: float) -> Sequence[IncarnationRow]:
        return await self._first.silent(limit_s)

    async def fence(self, incarnation: UUID) -> bool:
        newly = await self._first.fence(incarnation)
        await self._fence_besides(incarnation)
        return newly

    async def claim_reclaim(self, claim_s: float) -> UUID | None:
        """Whoever fenced it may have died after the first journal. If that cannot be mended now, it is due after the
        claim.
        """
        incarnation = await self._first.claim_reclaim(claim_s)
        if incarnation is not None:
            await self._fence_besides(incarnation)
        return incarnation

    async def _fence_besides(self, incarnation: UUID) -> None:
        for row in await self._first.incarnations():
            if row.incarnation == incarnation:
                await asyncio.gather(*(journal.fence_besides(row) for journal in self._rest))

    async def reclaimed(self, incarnation: UUID) -> None:
        await self._first.reclaimed(incarnation)

    async def incarnations(self) -> Sequence[IncarnationRow]:
        """Fenced are those that are so in every journal."""
        first, *rest = await self._of_each(lambda journal: journal.incarnations())
        fenced = [{row.incarnation for row in rows if row.fenced} for rows in rest]
        return [row._replace(fenced=row.fenced and all(row.incarnation in each for each in fenced)) for row in first]

    async def spent(self, incarnation: UUID) -> Mapping[str, int]:
        return _sum(await self._of_each(lambda journal: journal.spent(incarnation)))

    async def sold(self, skus: Sequence[str]) -> Mapping[str, int]:
        return _sum(await self._of_each(lambda journal: journal.sold(skus)))

    async def roll_up(self, incarnation: UUID) -> int:
        return sum(await self._of_each(lambda journal: journal.roll_up(incarnation)))

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        of_shard = divided(order_ids, str, len(self.shards))
        return _union(await asyncio.gather(*(self.shards[each].find_orders(ids) for each, ids in of_shard.items())))

    async def find_newer(self, versions: Mapping[str, int]) -> Mapping[str, Order]:
        of_shard = divided(versions.items(), itemgetter(0), len(self.shards))
        return _union(
            await asyncio.gather(*(self.shards[each].find_newer(dict(some)) for each, some in of_shard.items()))
        )

    async def list_orders(self, customer_id: str | None, before: str | None, limit: int) -> Sequence[Order]:
        pages = await self._of_each(lambda journal: journal.list_orders(customer_id, before, limit))
        return sorted((order for page in pages for order in page), reverse=True)[:limit]

    async def backlog(self) -> Backlog:
        each = await self._of_each(lambda journal: journal.backlog())
        times = [backlog.oldest for backlog in each if backlog.oldest is not None]
        return Backlog(sum(one.rows for one in each), sum(one.events for one in each), min(times, default=None))

    async def scan_orders(self) -> AsyncIterator[Sequence[Order]]:
        """By ascending id over all journals, each as of a moment of its own."""
        scans = [_Scan(journal.scan_orders()) for journal in self.shards]
        heads = [(order, scan) for scan in scans if (order := await scan.next()) is not None]
        heap = [(order.order_id, number) for number, (order, _) in enumerate(heads)]
        heapq.heapify(heap)
        page: list[Order] = []
        while heap:
            _, number = heap[0]
            order, scan = heads[number]
            page.append(order)
            following = await scan.next()
            if following is None:
                heapq.heappop(heap)
            else:
                heads[number] = (following, scan)
                heapq.heapreplace(heap, (following.order_id, number))
            if len(page) == SCAN_PAGE:
                yield page
                page = []
        if page:
            yield page

    async def all_spends(self) -> Mapping[UUID, Mapping[str, int]]:
        sums: dict[UUID, dict[str, int]] = {}
        for spends in await self._of_each(lambda journal: journal.all_spends()):
            for incarnation, units in spends.items():
                sums[incarnation] = _sum([sums.get(incarnation, {}), units])
        return sums

    async def close(self) -> None:
        await self._of_each(lambda journal: journal.close())

    async def _of_each(self, ask: Callable[[Shard], Awaitable[T]]) -> Sequence[T]:
        return await asyncio.gather(*map(ask, self.shards))


def whole(shards: Sequence[Shard]) -> Journals:
    """All of them as one; the journal itself if there is no other."""
    return AllJournals(shards) if len(shards) > 1 else shards[0]


class _Scan:
    """The orders of one journal, one by one."""

    def __init__(self, pages: AsyncIterator[Sequence[Order]]) -> None:
        self._pages = pages
        self._page: Sequence[Order] = ()
        self._at = 0

    async def next(self) -> Order | None:
        while self._at == len(self._page):
            page = await anext(self._pages, None)
            if page is None:
                return None
            self._page, self._at = page, 0
        self._at += 1
        return self._page[self._at - 1]


def _sum(sums: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in sums:
        for sku, units in each.items():
            total[sku] = total.get(sku, 0) + units
    return total


def _union(found: Sequence[Mapping[str, Order]]) -> Mapping[str, Order]:
    return {order_id: order for each in found for order_id, order in each.items()}
