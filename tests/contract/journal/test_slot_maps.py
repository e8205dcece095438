"""Slot maps: a topic's first map stands; the next is in force between two numbers, when all below is done with."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from journal.postgres_slot_maps import PostgresSlotMaps
from journal.protocol import Journal, OutboxLease
from journal.slot_maps import AnotherMoveUnderWay, SlotMaps
from journal.sqlite_slot_maps import SqliteSlotMaps
from sluice.slot_map import SlotMap, first_seats
from tests.journals import new_order, registered, sale

LONG_S = 60.0


@pytest.fixture
async def maps(journal: Any) -> AsyncIterator[SlotMaps]:
    """In the same database as `journal`."""
    if hasattr(journal, "_url"):
        opened = PostgresSlotMaps(journal._url, timeout_s=30)
        yield opened
        await opened.close()
    else:
        yield SqliteSlotMaps(journal._file)


async def commit(journal: Journal, *seqs: int) -> None:
    incarnation = await registered(journal)
    for seq in seqs:
        await journal.commit(sale(incarnation, seq, [new_order()]))


async def finish(lease: OutboxLease) -> list[int]:
    """As a relay whose events are acknowledged at once; the numbers."""
    await lease.number_new()
    numbers = [row.number for row in await lease.read(0, 100)]
    await lease.delete(numbers)
    return numbers


async def test_a_topics_first_map_is_made_once(maps: SlotMaps) -> None:
    await maps.begin({"a": 8, "b": 16})
    await maps.begin({"a": 32, "c": 4})
    assert {topic: max(each.seats) + 1 for topic, each in (await maps.in_force()).items()} == {"a": 8, "b": 16, "c": 4}
    assert (await maps.in_force())["a"] == SlotMap("a", 0, 0, first_seats(8), {})


async def test_a_move_is_noted_once_and_another_one_is_refused_until_it_is_aborted(maps: SlotMaps) -> None:
    await maps.begin({"a": 8})
    await maps.plan("a", first_seats(16))
    await maps.plan("a", first_seats(16))
    with pytest.raises(AnotherMoveUnderWay) as refused:
        await maps.plan("a", first_seats(32))
    assert refused.value.seats == first_seats(16)
    assert await maps.planned() == {"a": first_seats(16)}
    assert (await maps.in_force())["a"].epoch == 0
    assert await maps.abort("a")
    assert not await maps.abort("a")
    assert await maps.planned() == {}


async def test_the_next_map_is_in_force_from_the_next_number_on(journal: Journal, maps: SlotMaps) -> None:
    await maps.begin({"a": 8, "b": 8})
    await maps.plan("a", first_seats(16))
    await commit(journal, 1, 2)
    async with journal.lease_outbox() as lease:
        assert lease is not None
        await lease.number_new()
        version = await lease.map_version()
        assert await maps.pause_numbering(LONG_S) == 2
        assert await maps.unfinished(2) == 2
        assert not await maps.switch("a", 2, {0: 7})
        assert await finish(lease) == [1, 2]
        assert await maps.unfinished(2) == 0
        assert await maps.switch("a", 2, {0: 7, 3: 9})
        assert await lease.map_version() != version
        assert await lease.slot_maps() == [*await maps.history("a"), *await maps.history("b")]
    assert await maps.history("a") == [
        SlotMap("a", 0, 0, first_seats(8), {}),
        SlotMap("a", 1, 3, first_seats(16), {0: 7, 3: 9}),
    ]
    assert (await maps.in_force())["b"].epoch == 0
    assert await maps.planned() == {}


async def test_orders_are_accepted_while_numbering_is_paused_and_their_rows_wait(
    journal: Journal, maps: SlotMaps
) -> None:
    async with journal.lease_outbox() as lease:
        assert lease is not None
        assert await maps.pause_numbering(LONG_S) == 0
        await commit(journal, 1, 2)
        assert await lease.number_new() == 0
        assert await lease.read(0, 10) == []
        await maps.resume_numbering()
        assert await lease.number_new() == 2
        assert [row.number for row in await lease.read(0, 10)] == [1, 2]


async def test_rows_are_unfinished_until_they_are_deleted_whether_they_have_a_number_or_not(
    journal: Journal, maps: SlotMaps
) -> None:
    assert await maps.newest_row() == 0
    assert await maps.unfinished_rows(0) == 0
    await maps.pause_numbering(LONG_S)
    await commit(journal, 1, 2)
    newest = await maps.newest_row()
    await commit(journal, 3)
    assert await maps.unfinished_rows(newest) == 2
    await maps.resume_numbering()
    async with journal.lease_outbox() as lease:
        assert lease is not None
        await lease.number_new()
        assert await maps.unfinished_rows(newest) == 2
        assert await finish(lease) == [1, 2, 3]
    assert await maps.unfinished_rows(newest) == 0


async def test_a_pause_ends_by_itself(journal: Journal, maps: SlotMaps) -> None:
    async with journal.lease_outbox() as lease:
        assert lease is not None
        await commit(journal, 1)
        await maps.pause_numbering(0.0)
        assert await lease.number_new() == 1


async def test_what_was_numbered_since_the_pause_stands_in_the_way_of_the_switch(
    journal: Journal, maps: SlotMaps
) -> None:
    await maps.begin({"a": 8})
    await maps.plan("a", first_seats(16))
    async with journal.lease_outbox() as lease:
        assert lease is not None
        last = await maps.pause_numbering(0.0)
        await commit(journal, 1)
        assert await finish(lease) == [1]
        assert not await maps.switch("a", last, {})
        assert await maps.switch("a", await maps.pause_numbering(LONG_S), {})


async def test_an_aborted_move_cannot_switch_and_ends_its_pause(journal: Journal, maps: SlotMaps) -> None:
    await maps.begin({"a": 8})
    await maps.plan("a", first_seats(16))
    await commit(journal, 1)
    async with journal.lease_outbox() as lease:
        assert lease is not None
        last = await maps.pause_numbering(LONG_S)
        await maps.abort("a")
        assert not await maps.switch("a", last, {})
        assert await finish(lease) == [1]
    assert (await maps.in_force())["a"].epoch == 0
