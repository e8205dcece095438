"""Of the states of a SKU the one at the highest position stays, in whatever order and how often they are written."""

from collections.abc import Sequence
from itertools import permutations
from uuid import UUID, uuid4

from consumers.runtime.handling import now_ms
from sluice.seams.stock_projection import SkuChanges, SkuState, StockChange, StockProjection

JOURNAL = uuid4()


def state(sku: str, number: int, place: int = 0, journal: UUID = JOURNAL) -> SkuState:
    return SkuState(sku, journal, number, place, sold=number * 10 + place, changes=number + 1, time_ms=1_000 + number)


async def test_nothing_is_there_at_first(projection: StockProjection, generation: UUID) -> None:
    assert await projection.states(generation, ["teapot"]) == {}
    assert await projection.states(generation, []) == {}
    assert await projection.recent(generation, "teapot", 10) == []
    assert [page async for page in projection.scan(generation) if page] == []


async def test_the_highest_position_stays_whatever_is_written_last(
    projection: StockProjection, generation: UUID
) -> None:
    written = [state("", 1, 5), state("", 2, 0), state("", 2, 1)]
    for order, each in enumerate(permutations(written)):
        sku = f"teapot-{order}"
        for one in each:
            await projection.write(generation, [one._replace(sku=sku)], [])
        await projection.write(generation, [each[0]._replace(sku=sku)], [])  # again, by one who woke up late
        assert await projection.states(generation, [sku]) == {(sku, JOURNAL): state(sku, 2, 1)}


async def test_each_journal_counts_for_itself(projection: StockProjection, generation: UUID) -> None:
    other = uuid4()
    states = [state("teapot", 9), state("teapot", 2, journal=other), state("a cup / \u00fc'", 3)]
    await projection.write(generation, states, [])
    assert await projection.states(generation, ["teapot", "a cup / \u00fc'", "unknown"]) == {
        (each.sku, each.journal): each for each in states
    }


async def test_positions_may_be_as_high_as_a_journal_gets(projection: StockProjection, generation: UUID) -> None:
    high, higher = state("teapot", 2**41 - 1, 2**22 - 2), state("teapot", 2**41 - 1, 2**22 - 1)
    await projection.write(generation, [higher], [])
    await projection.write(generation, [high], [])
    assert list((await projection.states(generation, ["teapot"])).values()) == [higher]


async def test_generations_do_not_see_each_other(projection: StockProjection, generation: UUID) -> None:
    other = uuid4()
    await projection.write(generation, [state("teapot", 1), state("cup", 1)], [])
    await projection.write(other, [state("teapot", 2**40)], [])
    assert {generation, other} <= await projection.generations()
    await projection.drop(other)
    assert await projection.states(other, ["teapot"]) == {}
    assert other not in await projection.generations()
    found = [each async for page in projection.scan(generation) for each in page]
    assert sorted(found) == sorted([state("teapot", 1), state("cup", 1)])


async def test_every_state_is_scanned(projection: StockProjection, generation: UUID) -> None:
    states = [state(f"sku-{n}", n + 1, journal=journal) for n in range(1_100) for journal in (JOURNAL, UUID(int=n))]
    for start in range(0, len(states), 550):
        await projection.write(generation, states[start : start + 550], [])
    assert sorted([each async for page in projection.scan(generation) for each in page]) == sorted(states)


def of_sku(changes: Sequence[StockChange]) -> SkuChanges:
    sku, journal, first = changes[0][:3]
    deltas, order_ids, versions, times_ms = zip(*(each[3:] for each in changes), strict=True)
    return SkuChanges(sku, journal, first, deltas, order_ids, versions, times_ms)


def change(index: int, time_ms: int, sku: str = "teapot") -> StockChange:
    return StockChange(sku, JOURNAL, index, -2, str(uuid4()), 1, time_ms)


async def test_recent_changes_come_newest_first(projection: StockProjection, generation: UUID) -> None:
    begin = now_ms() - 60_000
    # Around a place where a partition of a store may end.
    changes = [change(index, begin + index) for index in range(9_990, 10_011)]
    await projection.write(generation, [state("teapot", 10_010)._replace(changes=10_011)], [of_sku(changes)])
    await projection.write(generation, [], [of_sku(changes[:5])])  # a repeat
    assert await projection.recent(generation, "teapot", 100) == changes[::-1]
    assert await projection.recent(generation, "teapot", 12) == changes[::-1][:12]
    assert await projection.recent(generation, "cup", 12) == []


async def test_changes_of_long_ago_are_not_kept(projection: StockProjection, generation: UUID) -> None:
    long_ago = now_ms() - 365 * 24 * 3600 * 1000
    old, new = change(0, long_ago), change(1, now_ms())
    await projection.write(generation, [state("teapot", 2)._replace(changes=2)], [of_sku([old, new])])
    assert await projection.recent(generation, "teapot", 10) == [new]
