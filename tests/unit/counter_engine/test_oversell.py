"""Several servers do oversell a counter SKU, and never by more than is published."""

import asyncio
from uuid import UUID

import pytest

from sluice.counting import UNCOUNTED_CAP, max_oversell, max_undersell
from sluice.seams.stock_store import ALL_CELLS, Cell, Counts
from tests.unit.counter_engine.shop import Shop
from tests.unit.stock_engine.parts import GRANTED, LEDGER_UNREACHABLE, OUT_OF_STOCK
from tests.unit.virtual_time import in_virtual_time

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


@in_virtual_time
async def test_servers_that_read_at_the_same_time_sell_the_last_unit_once_each() -> None:
    shop = Shop(3)
    shop.create("a", 1)
    granted = await asyncio.gather(*(shop.reserve(number, {"a": 1}) for number in range(3)))
    assert [reservation.verdicts for reservation in granted] == [[GRANTED]] * 3
    for reservation in granted:
        await shop.sell(reservation, {"a": 1})
    assert shop.sold("a") - 1 == 2 <= shop.max_oversell("a")
    await asyncio.sleep(1)
    assert (await shop.reserve(0, {"a": 1})).verdicts == [OUT_OF_STOCK]
    assert shop.sold("a") - 1 <= shop.max_oversell("a")


@in_virtual_time
async def test_those_over_whom_a_sku_is_spread_leave_each_other_a_share_before_any_has_sold() -> None:
    shop = Shop(3)
    shop.create("a", 300)
    shop.store.owners["a"] = 3
    granted = await asyncio.gather(*(shop.reserve(number, *[{"a": 1}] * 300) for number in range(3)))
    assert [reservation.verdicts.count(GRANTED) for reservation in granted] == [50] * 3


@in_virtual_time
async def test_a_server_that_was_cut_off_oversells_by_no_more_than_its_cap() -> None:
    shop = Shop(2)
    shop.create("a", 3_000)
    for number in range(2):
        await shop.sell(await shop.reserve(number, {"a": 1}), {"a": 1})
    await asyncio.sleep(1)
    shop.store.away = True
    verdicts = [(await shop.reserve(1, {"a": 100})).verdicts for _ in range(11)]
    assert verdicts == [[GRANTED]] * 7 + [[LEDGER_UNREACHABLE]] * 4  # its share of 2,998 units, less 1,000


@in_virtual_time
async def test_with_additions_answered_and_reads_not_the_cap_holds_all_the_same() -> None:
    shop = Shop()
    shop.create("a", 5_000)
    await shop.sell(await shop.reserve(0, {"a": 1}), {"a": 1})
    await asyncio.sleep(1)
    shop.store.counts_away = True
    granted = 0
    for _ in range(20):
        reservation = await shop.reserve(0, {"a": 200})
        if reservation.verdicts == [GRANTED]:
            granted += 200
            await shop.sell(reservation, {"a": 200})
        await asyncio.sleep(1)
    assert granted == UNCOUNTED_CAP


@in_virtual_time
async def test_units_that_came_back_and_were_seen_to_do_not_widen_the_cap() -> None:
    shop = Shop()
    shop.create("a", 9_000)
    await shop.sell(await shop.reserve(0, {"a": 1_000}), {"a": 1_000})
    await asyncio.sleep(1)
    shop.store.counts_away = True
    await shop.cancel(0, {"a": 1_000})
    await asyncio.sleep(1)
    assert shop.counted("a") == 0  # for whoever can read
    granted = 0
    for _ in range(20):
        reservation = await shop.reserve(0, {"a": 200})
        if reservation.verdicts == [GRANTED]:
            granted += 200
            await shop.sell(reservation, {"a": 200})
    assert granted == UNCOUNTED_CAP


@in_virtual_time
async def test_units_that_come_back_are_counted_as_returned_and_sold_by_others() -> None:
    shop = Shop(2)
    shop.create("a", 5)
    await shop.sell(await shop.reserve(0, {"a": 5}), {"a": 5})
    await asyncio.sleep(1)
    assert (await shop.reserve(1, {"a": 1})).verdicts == [OUT_OF_STOCK]
    await shop.cancel(0, {"a": 2})
    await asyncio.sleep(1)
    assert shop.counted("a") == 3
    assert (await shop.reserve(1, {"a": 2})).verdicts == [GRANTED]


@in_virtual_time
async def test_units_that_come_back_to_a_server_that_never_sold_the_sku_are_sold_by_it_and_others() -> None:
    shop = Shop(3)
    shop.create("a", 5)
    await shop.sell(await shop.reserve(0, {"a": 5}), {"a": 5})
    await asyncio.sleep(1)
    await shop.cancel(1, {"a": 4})
    await shop.sell(await shop.reserve(1, {"a": 1}), {"a": 1})
    await asyncio.sleep(1)
    assert shop.counted("a") == shop.sold("a") == 2
    assert (await shop.reserve(2, {"a": 3})).verdicts == [GRANTED]
    shop.check_nothing_taken("a")


@in_virtual_time
async def test_what_a_dead_server_did_not_count_may_be_sold_again_and_is_in_the_bound_for_good() -> None:
    shop = Shop(2)
    shop.create("a", 10)
    for number in range(2):
        await shop.reserve(number, {"a": 1})  # both know how much there is
    shop.store.away = True
    sales = [await shop.reserve(number, {"a": 1}) for number in (0, 1) for _ in range(3)]
    assert all(sale.verdicts == [GRANTED] for sale in sales[:2])
    for sale in sales:
        if sale.verdicts == [GRANTED]:
            await shop.sell(sale, {"a": 1})
    shop.store.away = False
    for number in (0, 1):
        assert shop.sold("a") - 10 <= shop.max_oversell("a")
        shop.fence(number)
        await shop.reclaim(number)
    assert shop.sold("a") - 10 <= shop.max_oversell("a")
    assert shop.counted("a") == shop.sold("a")


def _counts(*cells: tuple[UUID, int], stated: tuple[tuple[UUID, int], ...] = ()) -> Counts:
    return Counts({Cell(by, 0): units for by, units in cells}, {Cell(by, ALL_CELLS): units for by, units in stated})


@pytest.mark.parametrize(
    ("counts", "restocked", "bound"),
    [
        (Counts({}, {}), 50, 0),
        (_counts((A, 20)), 50, 0),
        (_counts((A, 20), (B, 10)), 5_000, UNCOUNTED_CAP),
        (_counts((A, 20), (B, 10), (C, 0)), 5_000, 2 * UNCOUNTED_CAP),
        # No server sells more than it has ever seen.
        (_counts((A, 20), (B, 10), (C, 0)), 50, 100),
        # A may have read before what B sold was stated.
        (_counts((A, 20), (B, 10), stated=((B, 15),)), 5_000, UNCOUNTED_CAP),
        # Who is gone sells no more; what they oversold stays oversold.
        (_counts((A, 20), (B, 10), stated=((A, 25), (B, 30))), 50, 5),
        (_counts((A, 40), (B, 10), stated=((B, 30),)), 50, 20 + 50),
    ],
)
def test_the_bound_counts_those_who_may_sell_what_others_sold(counts: Counts, restocked: int, bound: int) -> None:
    assert max_oversell(counts, restocked) == bound


@pytest.mark.parametrize(
    ("counts", "sold", "bound"),
    [
        (_counts((A, 20)), 20, 30),  # all that is unsold may be granted and in doubt
        (_counts((A, 50)), 50, 0),
        (_counts((A, 50), stated=((A, 50),)), 45, 5),  # 5 that came back are not counted as returned yet
        (_counts((A, 45), stated=((A, 45),)), 45, 0),
        (_counts((A, 60)), 60, 0),
    ],
)
def test_at_most_so_many_are_unsold_while_sold_out_is_said(counts: Counts, sold: int, bound: int) -> None:
    assert max_undersell(counts, 50, sold) == bound
