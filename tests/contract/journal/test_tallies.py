"""Tallies: every event counts once and in its order, whoever brings it and how often; orders are seen as they stand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal.events import encode_order_events, encode_transition_events
from journal.postgres_tallies import PostgresTallies
from journal.protocol import Batch, Committed, Journal, Transition, TransitionBatch
from journal.sqlite_tallies import SqliteTallies
from journal.tallies import StockEvent, Tallies, Victims
from sluice.model import ENDED_AS_OVERSOLD, Line, NewOrder, OrderState
from sluice.seams.event_log import Position

SOURCE = uuid4()
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def tallies(journal: Any) -> AsyncIterator[Tallies]:
    """In the same database as `journal`."""
    if hasattr(journal, "_url"):
        opened = PostgresTallies(journal._url, timeout_s=5.0)
        yield opened
        await opened.close()
    else:
        yield SqliteTallies(journal._file)


def sold(number: int, units: int = 1, *, place: int = 0, sku: str = "hot", order_id: str | None = None) -> StockEvent:
    return StockEvent(sku, order_id or str(uuid4()), units, Position(SOURCE, number, place))


async def place(journal: Journal, *units: int, sku: str = "hot", priorities: Sequence[int] = ()) -> list[str]:
    """Orders of `sku`; their ids."""
    orders = [
        NewOrder(str(uuid4()), "anna", (Line(sku, count),), None, priority)
        for count, priority in zip_longest(units, priorities, fillvalue=0)
    ]
    events, count = encode_order_events(orders, NOW)
    assert await journal.commit(Batch(orders, [], events, count, NOW)) == Committed()
    return [order.order_id for order in orders]


async def end(journal: Journal, order_id: str) -> None:
    order = (await journal.find_orders([order_id]))[order_id]
    steps = [Transition(order, OrderState.CANCELLED, ENDED_AS_OVERSOLD)]
    events, count = encode_transition_events(steps, NOW)
    assert await journal.transition(TransitionBatch(steps, [], events, count, NOW)) == Committed()


async def test_a_tally_is_the_sum_of_what_was_sold_and_came_back(tallies: Tallies) -> None:
    first = sold(1, 3)
    assert await tallies.add([first, sold(2, 2), sold(2, 5, place=1, sku="cold")]) == {"hot": 5, "cold": 5}
    assert await tallies.add([sold(3, -3, order_id=first.order_id)]) == {"hot": 2}
    assert list(await tallies.skus()) == ["cold", "hot"]


async def test_events_that_come_again_do_not_count_again(tallies: Tallies) -> None:
    events = [sold(number) for number in range(1, 6)]
    await tallies.add(events[:3])
    assert await tallies.add(events[1:]) == {"hot": 5}
    assert await tallies.add(events) == {"hot": 5}


async def test_two_that_bring_the_same_events_at_once_count_them_once(tallies: Tallies) -> None:
    events = [sold(number, sku=f"sku-{number % 3}") for number in range(1, 301)]
    await asyncio.gather(*(tallies.add(events[start : start + 100]) for start in (0, 0, 50, 0)))
    await asyncio.gather(*(tallies.add(events[100:]) for _ in range(3)))
    assert await tallies.add(events[-3:]) == {"sku-0": 100, "sku-1": 100, "sku-2": 100}


async def test_bought_and_given_back_in_one_batch_leaves_nothing(tallies: Tallies, journal: Journal) -> None:
    (order_id,) = await place(journal, 2)
    assert await tallies.add([sold(1, 2, order_id=order_id), sold(2, -2, order_id=order_id)]) == {"hot": 0}
    assert await tallies.live("hot", Victims.NEWEST_FIRST, 10) == (0, [])


async def test_journals_count_apart_and_add_up(tallies: Tallies) -> None:
    other = sold(1)._replace(position=Position(uuid4(), 1, 0))
    assert await tallies.add([sold(1, 2), other]) == {"hot": 3}


async def test_the_newest_or_the_smallest_come_first(tallies: Tallies, journal: Journal) -> None:
    ids = await place(journal, 3, 1, 2, 1)
    units = (3, 1, 2, 1)
    await tallies.add([sold(n, units[n], order_id=each) for n, each in enumerate(ids)])
    newest = await tallies.live("hot", Victims.NEWEST_FIRST, 3)
    assert newest.units == 7
    assert [(each.order.order_id, each.units) for each in newest.first] == [(ids[3], 1), (ids[2], 2), (ids[1], 1)]
    smallest = await tallies.live("hot", Victims.SMALLEST_FIRST, 10)
    assert [each.order.order_id for each in smallest.first] == [ids[3], ids[1], ids[2], ids[0]]
    assert smallest.first[0].order == (await journal.find_orders(ids))[ids[3]]


async def test_the_lowest_priority_comes_first_and_of_equals_the_newest(tallies: Tallies, journal: Journal) -> None:
    ids = await place(journal, 1, 1, 1, 1, 1, priorities=(7, 0, 10, 7, 0))
    await tallies.add([sold(n, order_id=each) for n, each in enumerate(ids)])
    live = await tallies.live("hot", Victims.LOWEST_PRIORITY_FIRST, 10)
    assert [each.order.order_id for each in live.first] == [ids[4], ids[1], ids[3], ids[0], ids[2]]
    assert [each.order.priority for each in live.first] == [0, 0, 7, 7, 10]


async def test_an_order_that_ended_counts_no_more_before_its_event_comes(tallies: Tallies, journal: Journal) -> None:
    ids = await place(journal, 2, 2)
    await tallies.add([sold(n, 2, order_id=each) for n, each in enumerate(ids, 1)])
    await end(journal, ids[0])
    live = await tallies.live("hot", Victims.NEWEST_FIRST, 10)
    assert live.units == 2
    assert [each.order.order_id for each in live.first] == [ids[1]]


async def test_one_decides_at_a_time(tallies: Tallies) -> None:
    async with tallies.lease("hot") as first, tallies.lease("hot") as second, tallies.lease("cold") as other:
        assert (first, second, other) == (True, False, True)
    async with tallies.lease("hot") as again:
        assert again


@given(
    log=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.booleans()), max_size=25),
    cuts=st.lists(st.tuples(st.integers(0, 25), st.integers(1, 25)), max_size=8),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_way_of_bringing_the_log_gives_the_sum(
    tmp_path_factory: pytest.TempPathFactory, log: list[tuple[str, int, bool]], cuts: list[tuple[int, int]]
) -> None:
    """Cut into overlapping batches, as consumers that crash and repeat bring it: always in order, never with a gap."""
    from tests.journals import new_sqlite_journal

    events: list[StockEvent] = []
    bought: dict[str, list[StockEvent]] = {}
    for number, (sku, units, back) in enumerate(log, start=1):
        if back and bought.get(sku):
            first = bought[sku].pop(0)
            events.append(sold(number, -first.units, sku=sku, order_id=first.order_id))
        else:
            events.append(sold(number, units, sku=sku, order_id=str(UUID(int=number))))
            bought.setdefault(sku, []).append(events[-1])

    async def run() -> None:
        async with new_sqlite_journal(tmp_path_factory.mktemp("tallies")) as journal:
            tallies = SqliteTallies(journal._file)
            at = 0
            for back, length in cuts:
                start = max(0, at - back)
                await tallies.add(events[start : start + length])
                at = max(at, min(len(events), start + length))
            result = await tallies.add(events[at:]) if at < len(events) else {}
            for sku in {event.sku for event in events}:
                total = sum(event.units for event in events if event.sku == sku)
                assert result.get(sku, total) == total

    asyncio.run(run())
