"""Who has not shown for a while that it lives is found; who is fenced learns so by its next beat."""

import asyncio
from uuid import uuid4

import pytest

from journal.protocol import IncarnationFenced, IncarnationRow, Journal
from tests.journals import NOW, registered

LONG_S = 60.0
"""Nobody here is silent for so long, however slow the machine."""


async def test_a_start_counts_as_a_beat_and_who_then_says_nothing_is_silent(journal: Journal) -> None:
    incarnation = await registered(journal)
    assert await journal.silent(LONG_S) == []
    await asyncio.sleep(0.02)
    assert await journal.silent(0.01) == [IncarnationRow("stockd-0", incarnation, NOW, False)]


async def test_who_beats_is_not_silent(journal: Journal) -> None:
    dead, alive = await registered(journal, "stockd-0"), await registered(journal, "stockd-1")
    await asyncio.sleep(2.0)
    await journal.beat(alive)
    assert [row.incarnation for row in await journal.silent(1.9)] == [dead]


async def test_a_fenced_incarnation_is_not_silent_and_learns_from_its_next_beat(journal: Journal) -> None:
    by_a_peer, by_its_successor = await registered(journal, "stockd-0"), await registered(journal, "stockd-1")
    await journal.fence(by_a_peer)
    await registered(journal, "stockd-1")
    for fenced in (by_a_peer, by_its_successor):
        with pytest.raises(IncarnationFenced) as raised:
            await journal.beat(fenced)
        assert raised.value.incarnation == fenced
    await asyncio.sleep(0.02)
    assert {row.incarnation for row in await journal.silent(0.01)}.isdisjoint({by_a_peer, by_its_successor})


async def test_nobody_beats_without_having_registered(journal: Journal) -> None:
    with pytest.raises(IncarnationFenced):
        await journal.beat(uuid4())
    assert await journal.silent(0.0) == []


async def test_of_many_who_fence_at_once_one_did_it(journal: Journal) -> None:
    incarnation = await registered(journal)
    assert sorted(await asyncio.gather(*(journal.fence(incarnation) for _ in range(4)))) == [False, False, False, True]
    assert await journal.fence(uuid4()) is False
