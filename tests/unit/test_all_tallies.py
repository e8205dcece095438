"""What was sold of a SKU in several journals, and who goes first of all of them, under each policy."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from journal.all_tallies import AllTallies
from journal.tallies import LiveTally, StockEvent, TalliedOrder, Victims
from sluice.model import Line, Order, OrderState
from sluice.seams.event_log import Position

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
JOURNALS = (UUID(int=1), UUID(int=2))


def candidate(number: int, units: int, priority: int = 0) -> TalliedOrder:
    """The higher its number the newer."""
    time = NOW + timedelta(seconds=number)
    order_id = str(UUID(int=number))
    order = Order(order_id, "anna", (Line("a", units),), OrderState.CREATED, time, time, 1, priority=priority)
    return TalliedOrder(order, units)


class OneTallies:
    """Those of one journal, already in the order in which it would let them go."""

    def __init__(self, *first: TalliedOrder) -> None:
        self.first = first
        self.added: list[StockEvent] = []

    async def add(self, events: Sequence[StockEvent]) -> Mapping[str, int]:
        self.added += events
        return await self.tallied([event.sku for event in events])

    async def tallied(self, skus: Sequence[str]) -> Mapping[str, int]:
        return {sku: sum(each.units for each in self.added if each.sku == sku) for sku in skus if self.added}

    async def live(self, _: str, victims: Victims, limit: int) -> LiveTally:
        return LiveTally(sum(each.units for each in self.first), self.first[:limit])

    async def skus(self) -> Sequence[str]:
        return ["a"]

    @asynccontextmanager
    async def lease(self, _: str) -> AsyncIterator[bool]:
        yield True


@pytest.mark.parametrize(
    ("victims", "numbers"),
    [
        (Victims.NEWEST_FIRST, [6, 5, 4, 3]),
        (Victims.SMALLEST_FIRST, [5, 1, 6, 4]),
        (Victims.LOWEST_PRIORITY_FIRST, [4, 3, 6, 2]),
    ],
)
async def test_they_go_in_one_order_over_all_journals(victims: Victims, numbers: Sequence[int]) -> None:
    odd = [candidate(5, 1, priority=3), candidate(3, 9), candidate(1, 1, priority=2)]
    even = [candidate(6, 2, priority=1), candidate(4, 3), candidate(2, 7, priority=1)]
    tallies = AllTallies(dict(zip(JOURNALS, (OneTallies(*odd), OneTallies(*even)), strict=True)))
    live = await tallies.live("a", victims, 4)
    assert live.units == 23
    assert [UUID(each.order.order_id).int for each in live.first] == numbers


async def test_each_event_goes_to_its_journal_and_the_sum_is_over_all() -> None:
    shards = dict(zip(JOURNALS, (OneTallies(), OneTallies()), strict=True))
    tallies = AllTallies(shards)
    events = [StockEvent("a", str(UUID(int=n)), 1 + n, Position(JOURNALS[n % 2], n, 0)) for n in range(4)]
    assert await tallies.add(events) == {"a": 10}
    assert await tallies.add([]) == {}
    assert [each.added for each in shards.values()] == [events[0::2], events[1::2]]
