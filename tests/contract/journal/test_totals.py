"""What was sold is the sum of the rows, rolled up or not."""

import asyncio

from journal.protocol import Batch, Journal, Spend
from tests.journals import NOW, new_order, registered, sale


async def test_sums_are_the_same_before_and_after_rolling_up(journal: Journal) -> None:
    one, other = await registered(journal, "stockd-0"), await registered(journal, "stockd-1")
    for seq in range(1, 6):
        await journal.commit(sale(one, seq, [new_order({"tea": seq, f"sku-{seq % 2}": 1})]))
    await journal.commit(sale(other, 1, [new_order({"tea": 100})]))
    of_one, of_all = {"tea": 15, "sku-0": 2, "sku-1": 3}, {"tea": 115, "sku-1": 3}
    for added in (5, 0):
        assert await journal.spent(one) == of_one
        assert await journal.sold(["tea", "sku-1", "never-sold"]) == of_all
        assert await journal.roll_up(one) == added
    await journal.commit(Batch([], [Spend(one, 6, {"tea": -5})], b"", 0, NOW))
    assert await journal.spent(one) == {**of_one, "tea": 10}
    assert await journal.sold(["tea"]) == {"tea": 110}
    assert await journal.roll_up(one) == 1
    assert await journal.spent(one) == {**of_one, "tea": 10}
    assert await journal.all_spends() == {one: {**of_one, "tea": 10}, other: {"tea": 100}}


async def test_roll_up_stops_at_the_first_undecided_reservation(journal: Journal) -> None:
    incarnation = await registered(journal)
    for seq in (1, 2, 4, 5):
        await journal.commit(sale(incarnation, seq, [new_order()]))
    assert await journal.roll_up(incarnation) == 2
    await journal.close_reservations(incarnation, [3], NOW)
    assert await journal.roll_up(incarnation) == 3
    assert await journal.spent(incarnation) == {"tea": 4}


async def test_a_rolled_up_reservation_is_still_decided(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(sale(incarnation, 1, [new_order({"tea": 2})]))
    await journal.roll_up(incarnation)
    assert await journal.close_reservations(incarnation, [1], NOW) == {1: {"tea": 2}}
    await journal.commit(sale(incarnation, 1, [new_order({"tea": 9})]))
    assert await journal.spent(incarnation) == {"tea": 2}


async def test_roll_ups_at_once_add_each_row_once(journal: Journal) -> None:
    incarnation = await registered(journal)
    for start in range(1, 61, 20):
        for seq in range(start, start + 20):
            await journal.commit(sale(incarnation, seq, [new_order()]))
        added = await asyncio.gather(*(journal.roll_up(incarnation) for _ in range(4)))
        assert sorted(added) == [0, 0, 0, 20]
    assert await journal.spent(incarnation) == {"tea": 60}
    assert await journal.all_spends() == {incarnation: {"tea": 60}}


async def test_a_fenced_incarnation_can_be_rolled_up(journal: Journal) -> None:
    incarnation = await registered(journal)
    await journal.commit(sale(incarnation, 1, [new_order()]))
    await journal.fence(incarnation)
    assert await journal.roll_up(incarnation) == 1
    assert await journal.sold(["tea"]) == {"tea": 1}


async def test_nothing_spent_is_an_empty_sum(journal: Journal) -> None:
    incarnation = await registered(journal)
    assert await journal.spent(incarnation) == {}
    assert await journal.sold([]) == {}
    assert await journal.all_spends() == {}
    assert await journal.roll_up(incarnation) == 0
