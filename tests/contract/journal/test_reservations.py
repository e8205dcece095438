"""A reservation's outcome is decided once, by whoever comes first: the commit, or the one who closes it."""

import asyncio

from journal.protocol import Committed, Journal, ReservationsClosed
from tests.contract.journal.standing import standing
from tests.journals import NOW, new_order, registered, sale


async def test_a_void_reservation_stays_void(journal: Journal) -> None:
    incarnation = await registered(journal)
    assert await journal.close_reservations(incarnation, [1, 2], NOW) == {1: {}, 2: {}}
    before = await standing(journal)
    late = await journal.commit(sale(incarnation, 2, [new_order()]))
    assert late == ReservationsClosed({(incarnation, 2): {}})
    assert await standing(journal) == before
    assert await journal.close_reservations(incarnation, [2], NOW) == {2: {}}


async def test_closing_a_committed_reservation_tells_what_was_sold(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(sale(incarnation, 2, [new_order({"tea": 3, "cup": 1})]))
    assert await journal.close_reservations(incarnation, [3, 2, 1], NOW) == {1: {}, 2: {"tea": 3, "cup": 1}, 3: {}}
    assert await journal.spent(incarnation) == {"tea": 3, "cup": 1}


async def test_a_fenced_incarnations_reservations_can_be_closed(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(sale(incarnation, 1, [new_order({"tea": 3})]))
    await journal.fence(incarnation)
    assert await journal.close_reservations(incarnation, [1, 2], NOW) == {1: {"tea": 3}, 2: {}}


async def test_closing_nothing_decides_nothing(journal: Journal) -> None:
    incarnation = await registered(journal)
    assert await journal.close_reservations(incarnation, [], NOW) == {}


async def test_reservations_of_incarnations_do_not_mix(journal: Journal) -> None:
    one, other = await registered(journal, "stockd-0"), await registered(journal, "stockd-1")
    await journal.close_reservations(one, [1], NOW)
    assert await journal.commit(sale(other, 1, [new_order()])) == Committed()


async def test_commit_and_close_at_once_agree(journal: Journal) -> None:
    """Whoever wins, both learn the same: sold by this commit, or void for ever."""
    incarnation = await registered(journal)
    for seq in range(1, 41):
        batch = sale(incarnation, seq, [new_order()])
        first, second = (journal.commit(batch), journal.close_reservations(incarnation, [seq], NOW))
        if seq % 2:
            committed, closed = await asyncio.gather(first, second)
        else:
            closed, committed = await asyncio.gather(second, first)
        if committed == Committed():
            assert closed == {seq: {"tea": 1}}
        else:
            assert committed == ReservationsClosed({(incarnation, seq): {}})
            assert closed == {seq: {}}
