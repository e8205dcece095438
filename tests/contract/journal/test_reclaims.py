"""Every fenced incarnation is given to somebody to fold: by turns, again after a crash, and not for ever."""

import asyncio
from uuid import UUID, uuid4

import pytest

import journal.postgres
import journal.sqlite_incarnations
from journal.protocol import Journal
from tests.journals import NOW, registered

LONG_S = 60.0


async def test_only_who_is_fenced_is_to_be_folded(journal: Journal) -> None:
    await registered(journal)
    await journal.fence(uuid4())
    assert await journal.claim_reclaim(LONG_S) is None


async def test_a_predecessor_and_a_fenced_peer_are_each_claimed_once(journal: Journal) -> None:
    predecessor, peer = await registered(journal, "stockd-0"), await registered(journal, "stockd-1")
    await registered(journal, "stockd-0")
    await journal.fence(peer)
    claims = [await journal.claim_reclaim(LONG_S) for _ in range(3)]
    assert set(claims[:2]) == {predecessor, peer}  # in any order: both may be due since the same millisecond
    assert claims[2] is None


async def test_claims_at_once_get_different_incarnations(journal: Journal) -> None:
    fenced = {await fenced_one(journal, f"stockd-{number}") for number in range(4)}
    claimed = await asyncio.gather(*(journal.claim_reclaim(LONG_S) for _ in range(4)))
    late = [await journal.claim_reclaim(LONG_S) for _ in range(4)]  # a claim may have passed by one that was locked
    assert sorted(claim for claim in [*claimed, *late] if claim) == sorted(fenced)


async def test_a_claim_of_somebody_who_died_lapses(journal: Journal) -> None:
    fenced = await fenced_one(journal)
    assert await journal.claim_reclaim(0.05) == fenced
    await asyncio.sleep(0.1)
    assert await journal.claim_reclaim(LONG_S) == fenced


async def test_what_was_folded_is_looked_at_again_after_twice_as_long_each_time(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_times(monkeypatch, again_s=0.4, for_s=LONG_S)
    fenced = await fenced_one(journal)
    loop = asyncio.get_running_loop()
    swept: list[float] = []
    for _ in range(3):
        while (claim := await journal.claim_reclaim(LONG_S)) is None:  # noqa: ASYNC110 - it becomes due by the clock
            await asyncio.sleep(0.01)
        assert claim == fenced
        await journal.reclaimed(fenced)
        swept.append(loop.time())
    assert swept[1] - swept[0] >= 0.39
    assert swept[2] - swept[0] >= 0.79


async def test_the_sweeps_end(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    set_times(monkeypatch, again_s=0.0, for_s=0.0)
    fenced = await fenced_one(journal)
    assert await journal.claim_reclaim(0.0) == fenced
    await journal.reclaimed(fenced)
    await asyncio.sleep(0.02)
    assert await journal.claim_reclaim(0.0) is None


async def test_what_was_never_folded_is_due_however_old(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    set_times(monkeypatch, again_s=0.0, for_s=0.0)
    fenced = await fenced_one(journal)
    await asyncio.sleep(0.02)
    assert await journal.claim_reclaim(LONG_S) == fenced


async def test_a_zombie_that_says_so_is_swept_again(journal: Journal) -> None:
    fenced = await fenced_one(journal)
    await journal.reclaimed(fenced)
    assert await journal.claim_reclaim(LONG_S) is None
    await journal.fence(fenced)
    assert await journal.claim_reclaim(LONG_S) == fenced


async def test_a_start_of_the_name_makes_its_predecessors_due(journal: Journal) -> None:
    fenced = await fenced_one(journal, "stockd-0")
    other = await fenced_one(journal, "stockd-1")
    for incarnation in (fenced, other):
        await journal.reclaimed(incarnation)
    await registered(journal, "stockd-0")
    assert [await journal.claim_reclaim(LONG_S) for _ in range(2)] == [fenced, None]


async def fenced_one(journal: Journal, name: str = "stockd-0") -> UUID:
    incarnation = uuid4()
    await journal.register(name, incarnation, NOW)
    await journal.fence(incarnation)
    return incarnation


def set_times(monkeypatch: pytest.MonkeyPatch, *, again_s: float, for_s: float) -> None:
    for module in (journal.postgres, journal.sqlite_incarnations):
        monkeypatch.setattr(module, "RECLAIM_AGAIN_S", again_s)
        monkeypatch.setattr(module, "RECLAIM_FOR_S", for_s)
