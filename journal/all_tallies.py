"""The tallies of all journals of a cluster as one. Each keeps what its own events tell, beside their orders."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol
from uuid import UUID

from journal.tallies import LiveTally, StockEvent, TalliedOrder, Tallies, Victims


class ShardTallies(Tallies, Protocol):
    """Those of one journal."""

    async def tallied(self, skus: Sequence[str]) -> Mapping[str, int]:
        """The tally of each SKU that has one."""
        ...


class AllTallies:
    """See `journal.tallies.Tallies`."""

    def __init__(self, shards: Mapping[UUID, ShardTallies]) -> None:
        """By the identity of the journal; the first one's gives the leases."""
        self._shards = shards
        self._first = next(iter(shards.values()))

    async def add(self, events: Sequence[StockEvent]) -> Mapping[str, int]:
        of_shard: dict[ShardTallies, list[StockEvent]] = {}
        for event in events:
            of_shard.setdefault(self._shards.get(event.position.journal, self._first), []).append(event)
        await asyncio.gather(*(shard.add(some) for shard, some in of_shard.items()))
        skus = list({event.sku for event in events})
        tallies = dict.fromkeys(skus, 0)
        for tallied in await asyncio.gather(*(shard.tallied(skus) for shard in self._shards.values())):
            for sku, units in tallied.items():
                tallies[sku] += units
        return tallies

    async def live(self, sku: str, victims: Victims, limit: int) -> LiveTally:
        """Each journal as of a moment of its own, of which all are within the lease. No order of events goes through
        several journals: newest is by the time of the order, and by its id.
        """
        tallies = await asyncio.gather(*(shard.live(sku, victims, limit) for shard in self._shards.values()))
        first = [candidate for tally in tallies for candidate in tally.first]
        first.sort(key=_newest, reverse=True)
        if (least_first := _LEAST_FIRST.get(victims)) is not None:
            first.sort(key=least_first)
        return LiveTally(sum(tally.units for tally in tallies), first[:limit])

    async def skus(self) -> Sequence[str]:
        found = await asyncio.gather(*(shard.skus() for shard in self._shards.values()))
        return sorted({sku for skus in found for sku in skus})

    @asynccontextmanager
    async def lease(self, sku: str) -> AsyncIterator[bool]:
        async with self._first.lease(sku) as mine:
            yield mine


def _newest(candidate: TalliedOrder) -> tuple[object, ...]:
    return candidate.order.create_time, candidate.order.order_id


def _units(candidate: TalliedOrder) -> int:
    return candidate.units


def _priority(candidate: TalliedOrder) -> int:
    return candidate.order.priority


_LEAST_FIRST = {Victims.SMALLEST_FIRST: _units, Victims.LOWEST_PRIORITY_FIRST: _priority}
"""Of equals the newest first, as without it."""
