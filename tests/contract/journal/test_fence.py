"""A new start of a stock server ends the earlier ones; nothing is sold from a fenced incarnation."""

import asyncio
from uuid import uuid4

import pytest

from journal.protocol import Committed, IncarnationFenced, IncarnationRow, IncarnationsFenced, Journal
from tests.journals import NOW, new_order, registered, sale


async def test_registering_fences_all_predecessors_and_names_them(journal: Journal) -> None:
    first, second, third = uuid4(), uuid4(), uuid4()
    assert await journal.register("stockd-0", first, NOW) == []
    assert await journal.register("stockd-0", second, NOW) == [first]
    assert set(await journal.register("stockd-0", third, NOW)) == {first, second}
    for predecessor in (first, second):
        refused = await journal.commit(sale(predecessor, 1, [new_order()]))
        assert refused == IncarnationsFenced(frozenset({predecessor}))
    assert await journal.commit(sale(third, 1, [new_order()])) == Committed()


async def test_other_names_are_left_alone(journal: Journal) -> None:
    other = await registered(journal, "stockd-1")
    await registered(journal, "stockd-0")
    assert await journal.commit(sale(other, 1, [new_order()])) == Committed()


async def test_registering_again_is_harmless(journal: Journal) -> None:
    first, second = uuid4(), uuid4()
    await journal.register("stockd-0", first, NOW)
    await journal.register("stockd-0", second, NOW)
    assert await journal.register("stockd-0", second, NOW) == [first]
    assert await journal.commit(sale(second, 1, [new_order()])) == Committed()


async def test_a_fenced_incarnation_cannot_register_again(journal: Journal) -> None:
    first = await registered(journal)
    second = await registered(journal)
    with pytest.raises(IncarnationFenced) as raised:
        await journal.register("stockd-0", first, NOW)
    assert raised.value.incarnation == first
    assert await journal.commit(sale(second, 1, [new_order()])) == Committed()


async def test_starts_of_one_name_at_once_leave_one(journal: Journal) -> None:
    starts = [uuid4() for _ in range(8)]
    fenced = await asyncio.gather(*(journal.register("stockd-0", start, NOW) for start in starts))
    assert sorted(len(named) for named in fenced) == list(range(8))
    assert [row.fenced for row in await journal.incarnations()].count(False) == 1


async def test_fencing_twice_or_the_unknown_is_harmless(journal: Journal) -> None:
    incarnation = await registered(journal)
    for fenced in (incarnation, incarnation, uuid4()):
        await journal.fence(fenced)
    assert await journal.incarnations() == [IncarnationRow("stockd-0", incarnation, NOW, True)]


async def test_nothing_is_sold_after_a_fence_returned(journal: Journal) -> None:
    incarnation = await registered(journal)
    enough_sold = asyncio.Event()

    async def sell(worker: int) -> int:
        """Until refused; the number of batches that stand."""
        for count in range(10_000):
            result = await journal.commit(sale(incarnation, worker + 4 * count + 1, [new_order()]))
            if result != Committed():
                assert result == IncarnationsFenced(frozenset({incarnation}))
                return count
            if count == 5:
                enough_sold.set()
        raise AssertionError("never fenced")

    selling = [asyncio.ensure_future(sell(worker)) for worker in range(4)]
    await enough_sold.wait()
    await journal.fence(incarnation)
    at_the_fence = await journal.spent(incarnation)
    assert {"tea": sum(await asyncio.gather(*selling))} == at_the_fence
    assert await journal.spent(incarnation) == at_the_fence
