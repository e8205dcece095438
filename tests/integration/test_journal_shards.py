"""Three PostgreSQL journals as one: what is asked of all of them, and that nobody opens them in another order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from itertools import count
from uuid import UUID, uuid4

import pytest

from journal.all_journals import AllJournals
from journal.postgres import PostgresJournal
from journal.postgres_place import WrongPlace
from journal.postgres_shards import open_journals, opened_tallies
from journal.protocol import Committed, IncarnationFenced, IncarnationsFenced
from journal.tallies import StockEvent, Victims
from sluice.model import NewOrder, units_by_sku
from sluice.seams.event_log import Position
from sluice.sharding import shard_of
from tests.journals import NOW, new_order, new_postgres_database, sale

pytestmark = pytest.mark.servers

SHARDS = 3


@pytest.fixture
async def urls(postgres_url: str) -> AsyncIterator[Sequence[str]]:
    async with AsyncExitStack() as made:
        yield [await made.enter_async_context(new_postgres_database(postgres_url)) for _ in range(SHARDS)]


@pytest.fixture
async def journals(urls: Sequence[str]) -> AsyncIterator[AllJournals]:
    opened = AllJournals(await open_journals(urls, timeout_s=30))
    yield opened
    await opened.close()


def order_in(shard: int, customer_id: str = "customer-1", **lines: int) -> NewOrder:
    return next(
        order
        for order in (new_order(lines or None, customer_id=customer_id) for _ in count())
        if shard_of(order.order_id, SHARDS) == shard
    )


async def registered(journals: AllJournals, name: str = "stockd-0") -> UUID:
    incarnation = uuid4()
    await journals.register(name, incarnation, NOW)
    return incarnation


async def sells_in(journals: AllJournals, incarnation: UUID, shard: int, turn: int = 1) -> bool:
    """Sells one unit of tea there, out of the reservation with this turn among those of the journal."""
    batch = sale(incarnation, turn * SHARDS + shard, [order_in(shard)])
    result = await journals.shards[shard].commit(batch)
    assert result in (Committed(), IncarnationsFenced(frozenset({incarnation})))
    return result == Committed()


async def test_another_list_of_the_same_databases_is_refused(urls: Sequence[str]) -> None:
    for journal in await open_journals(urls):
        await journal.close()
    for wrong in (urls[:1], urls[1:2], urls[:2], urls[::-1], [*urls[:2], urls[0]]):
        with pytest.raises(WrongPlace, match="same databases in the same order"):
            await open_journals(wrong)
    for number, journal in enumerate(await open_journals(urls)):
        assert journal.shard == number
        await journal.close()


async def test_a_database_of_another_cluster_is_refused(urls: Sequence[str], postgres_url: str) -> None:
    for journal in await open_journals(urls[:2]):
        await journal.close()
    async with new_postgres_database(postgres_url) as first, new_postgres_database(postgres_url) as second:
        for journal in await open_journals([first, second]):
            await journal.close()
        with pytest.raises(WrongPlace, match="another cluster"):
            await open_journals([urls[0], second])


async def test_a_journal_that_was_the_only_one_stays_the_only_one(urls: Sequence[str]) -> None:
    journal = await PostgresJournal.open(urls[0])
    await journal.close()
    with pytest.raises(WrongPlace, match="number 0 of 1 journals, not number 0 of 3"):
        await open_journals(urls)


async def test_registered_in_all_it_sells_in_all_and_fenced_in_none(journals: AllJournals) -> None:
    incarnation = await registered(journals)
    assert all([await sells_in(journals, incarnation, shard) for shard in range(SHARDS)])
    assert await journals.fence(incarnation)
    assert not any([await sells_in(journals, incarnation, shard, turn=2) for shard in range(SHARDS)])
    assert await journals.spent(incarnation) == {"tea": SHARDS}
    with pytest.raises(IncarnationFenced):
        await journals.beat(incarnation)


async def test_a_new_start_of_the_name_fences_the_old_one_in_all(journals: AllJournals) -> None:
    old = await registered(journals)
    assert await journals.register("stockd-0", uuid4(), NOW) == [old]
    assert not any([await sells_in(journals, old, shard) for shard in range(SHARDS)])


async def test_what_somebody_fenced_in_the_first_only_is_fenced_in_all_before_it_is_folded(
    journals: AllJournals,
) -> None:
    incarnation = await registered(journals)
    await journals.shards[0].fence(incarnation)
    assert [row.fenced for row in await journals.incarnations()] == [False], "it may still sell in the others"
    assert await sells_in(journals, incarnation, 2)
    assert await journals.claim_reclaim(30.0) == incarnation
    assert not any([await sells_in(journals, incarnation, shard, turn=2) for shard in range(SHARDS)])
    assert [row.fenced for row in await journals.incarnations()] == [True]
    assert await journals.claim_reclaim(30.0) is None, "one journal has the reclaims of all"


async def test_one_that_was_fenced_while_it_registered_never_sells(journals: AllJournals) -> None:
    incarnation = uuid4()
    await journals.shards[0].register("stockd-0", incarnation, NOW)
    await journals.fence(incarnation)
    for journal in journals.shards[1:]:
        with pytest.raises(IncarnationFenced):
            await journal.register("stockd-0", incarnation, NOW)
    assert not any([await sells_in(journals, incarnation, shard) for shard in range(SHARDS)])


async def test_sweeps_end_however_often_the_others_are_looked_after(journals: AllJournals) -> None:
    """Fencing anew would begin them anew."""
    incarnation = await registered(journals)
    await journals.fence(incarnation)
    assert await journals.claim_reclaim(30.0) == incarnation
    await journals.reclaimed(incarnation)
    assert await journals.claim_reclaim(30.0) is None


async def test_sales_are_the_sum_over_all_and_rolled_up_in_each(journals: AllJournals) -> None:
    incarnation = await registered(journals)
    for turn in range(1, 6):
        for shard in range(SHARDS):
            if (turn, shard) != (4, 1):  # still open: numbers above it are not rolled up
                assert await sells_in(journals, incarnation, shard, turn)
    assert await journals.roll_up(incarnation) == 5 + 3 + 5
    assert await journals.sold(["tea", "milk"]) == {"tea": 14}
    assert await journals.spent(incarnation) == {"tea": 14}
    assert await journals.all_spends() == {incarnation: {"tea": 14}}

    void = 4 * SHARDS + 1
    assert await journals.shards[1].close_reservations(incarnation, [void], NOW) == {void: {}}
    assert await journals.roll_up(incarnation) == 2
    assert await journals.roll_up(incarnation) == 0
    assert await journals.sold(["tea"]) == {"tea": 14}


async def commit(journals: AllJournals, incarnation: UUID, orders: Sequence[NewOrder], first_turn: int = 1) -> None:
    for turn, order in enumerate(orders, first_turn):
        shard = shard_of(order.order_id, SHARDS)
        assert await journals.shards[shard].commit(sale(incarnation, turn * SHARDS + shard, [order])) == Committed()


async def test_orders_are_found_listed_and_scanned_over_all(journals: AllJournals) -> None:
    incarnation = await registered(journals)
    orders = [new_order(customer_id=f"customer-{number % 2}") for number in range(40)]
    await commit(journals, incarnation, orders)
    ids = sorted(order.order_id for order in orders)
    assert sorted(await journals.find_orders([*ids, str(uuid4())])) == ids
    assert sorted(await journals.find_newer(dict.fromkeys(ids, 0))) == ids
    assert await journals.find_newer(dict.fromkeys(ids, 1)) == {}
    assert [order.order_id for page in [each async for each in journals.scan_orders()] for order in page] == ids

    for customer in (None, "customer-1"):
        wanted = [each.order_id for each in sorted(orders, reverse=True) if customer in (None, each.customer_id)]
        listed: list[str] = []
        while page := await journals.list_orders(customer, listed[-1] if listed else None, 7):
            assert len(page) == min(7, len(wanted) - len(listed))
            listed += [order.order_id for order in page]
        assert listed == wanted
    backlog = await journals.backlog()
    assert (backlog.rows, backlog.events, backlog.oldest) == (40, 40, NOW)


async def test_a_tally_is_the_sum_over_all_and_each_event_counts_once(
    journals: AllJournals, urls: Sequence[str]
) -> None:
    incarnation = await registered(journals)
    orders = [order_in(number % SHARDS, tea=1 + number) for number in range(6)]
    await commit(journals, incarnation, orders)
    events = [
        StockEvent(
            "tea",
            order.order_id,
            units_by_sku([order])["tea"],
            Position(journals.shards[number % SHARDS].journal_id, 10 + number, 0),
        )
        for number, order in enumerate(orders)
    ]
    async with opened_tallies(journals, urls, timeout_s=30) as tallies:
        assert await tallies.add(events[:4]) == {"tea": 10}
        assert await tallies.add(events) == {"tea": 21}
        assert await tallies.add(events[1:2]) == {"tea": 21}
        assert await tallies.skus() == ["tea"]
        live = await tallies.live("tea", Victims.SMALLEST_FIRST, 4)
        assert (live.units, [each.units for each in live.first]) == (21, [1, 2, 3, 4])
        newest = await tallies.live("tea", Victims.NEWEST_FIRST, 100)
        assert {each.order.order_id for each in newest.first} == {order.order_id for order in orders}
        async with tallies.lease("tea") as mine, tallies.lease("tea") as too:
            assert (mine, too) == (True, False)
