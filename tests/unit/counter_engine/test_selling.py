"""A server sells a counter SKU from what it sold itself and what it last read of the others."""

import asyncio

from sluice.seams.stock_store import Cell
from tests.unit.counter_engine.shop import REFRESH_S, Shop
from tests.unit.stock_engine.parts import GRANTED, LEDGER_UNREACHABLE, OUT_OF_STOCK, verdicts
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_a_server_alone_sells_exactly_what_there_is() -> None:
    shop = Shop()
    shop.create("a", 5)
    for _ in range(5):
        await shop.sell(await shop.reserve(0, {"a": 1}), {"a": 1})
    assert (await shop.reserve(0, {"a": 1})).verdicts == [OUT_OF_STOCK]
    assert shop.max_oversell("a") == 0
    shop.check_nothing_taken("a")


@in_virtual_time
async def test_one_batch_gets_what_there_is_in_arrival_order() -> None:
    shop = Shop()
    shop.create("a", 3)
    reservation = await shop.reserve(0, {"a": 2}, {"a": 2}, {"a": 1})
    assert reservation.verdicts == [GRANTED, OUT_OF_STOCK, GRANTED]


@in_virtual_time
async def test_what_was_sold_is_counted_within_the_refresh_interval_in_one_addition() -> None:
    shop = Shop()
    shop.create("a", 50)
    for _ in range(10):
        await shop.sell(await shop.reserve(0, {"a": 2}), {"a": 2})
    await asyncio.sleep(REFRESH_S)
    await let_run()
    cell = Cell(shop.engines[0].incarnation, 0)
    assert shop.store.additions == [("a", cell, 0), ("a", cell, 20)]
    assert shop.counted("a") == shop.sold("a") == 20


@in_virtual_time
async def test_nothing_is_asked_of_the_store_while_nobody_buys() -> None:
    shop = Shop()
    shop.create("a", 50)
    await shop.sell(await shop.reserve(0, {"a": 2}), {"a": 2})
    await asyncio.sleep(1)
    reads = shop.store.counts_read
    await asyncio.sleep(60)
    assert shop.store.counts_read == reads


@in_virtual_time
async def test_orders_are_decided_from_a_read_no_older_than_the_refresh_interval() -> None:
    shop = Shop(2)
    shop.create("a", 10)
    await shop.sell(await shop.reserve(0, {"a": 1}), {"a": 1})
    await shop.sell(await shop.reserve(1, {"a": 5}), {"a": 5})
    await asyncio.sleep(1)
    assert (await shop.reserve(0, {"a": 5})).verdicts == [OUT_OF_STOCK]
    assert (await shop.reserve(0, {"a": 4})).verdicts == [GRANTED]


@in_virtual_time
async def test_units_not_sold_of_a_grant_are_for_sale_at_once() -> None:
    shop = Shop()
    shop.create("a", 3)
    first = await shop.reserve(0, {"a": 3})
    waiting = shop.reserving(0, {"a": 2})
    await let_run()
    assert verdicts(waiting) == [None]
    await shop.sell(first, {"a": 1})
    assert (await waiting).verdicts == [GRANTED]


@in_virtual_time
async def test_sold_out_is_said_only_when_nothing_in_doubt_can_come_back() -> None:
    shop = Shop()
    shop.create("a", 1)
    await shop.reserve(0, {"a": 1})
    waiting = shop.reserving(0, {"a": 1})
    await asyncio.sleep(0.2)
    assert verdicts(waiting) == [None]
    assert (await waiting).verdicts == [OUT_OF_STOCK]


@in_virtual_time
async def test_a_restock_is_sold_within_the_refresh_interval() -> None:
    shop = Shop()
    shop.create("a", 1)
    await shop.sell(await shop.reserve(0, {"a": 1}), {"a": 1})
    assert (await shop.reserve(0, {"a": 1})).verdicts == [OUT_OF_STOCK]
    shop.store.add("a", 4)
    await asyncio.sleep(REFRESH_S)
    assert (await shop.reserve(0, {"a": 4})).verdicts == [GRANTED]


@in_virtual_time
async def test_an_order_for_more_than_the_cap_is_refused_and_holds_up_nobody() -> None:
    shop = Shop()
    shop.create("a", 5_000)
    reservation = await shop.reserve(0, {"a": 1_001}, {"a": 1_000})
    assert reservation.verdicts == [OUT_OF_STOCK, GRANTED]


@in_virtual_time
async def test_more_than_the_cap_is_sold_as_fast_as_it_is_counted() -> None:
    shop = Shop()
    shop.create("a", 5_000)
    for _ in range(5):
        await shop.sell(await shop.reserve(0, {"a": 1_000}), {"a": 1_000})
    assert shop.sold("a") == 5_000
    assert asyncio.get_running_loop().time() < 0.01


@in_virtual_time
async def test_carts_with_other_policies_get_all_or_none() -> None:
    shop = Shop()
    shop.create("a", 2)
    shop.store.create("exact", 1)
    first, second = shop.reserving(0, {"a": 1, "exact": 1}), shop.reserving(0, {"a": 1, "exact": 1})
    await shop.sell(await first, {"a": 1, "exact": 1})
    await asyncio.wait([second])
    assert verdicts(first, second) == [GRANTED, OUT_OF_STOCK]
    assert (await shop.reserve(0, {"a": 1})).verdicts == [GRANTED]


@in_virtual_time
async def test_with_the_store_away_it_sells_on_from_what_it_last_read_up_to_the_cap() -> None:
    shop = Shop()
    shop.create("a", 5_000)
    await shop.sell(await shop.reserve(0, {"a": 400}), {"a": 400})
    await asyncio.sleep(1)
    shop.store.away = True
    for _ in range(4):
        await shop.sell(await shop.reserve(0, {"a": 250}), {"a": 250})
    assert (await shop.reserve(0, {"a": 1})).verdicts == [LEDGER_UNREACHABLE]
    shop.store.away = False
    await asyncio.sleep(1)
    assert (await shop.reserve(0, {"a": 1_000})).verdicts == [GRANTED]
    assert shop.counted("a") == 1_400


@in_virtual_time
async def test_with_the_store_hung_it_sells_on_too_and_nobody_waits_long() -> None:
    shop = Shop()
    shop.create("a", 5_000)
    await shop.sell(await shop.reserve(0, {"a": 1}), {"a": 1})
    await asyncio.sleep(1)
    shop.store.answering.clear()
    began = asyncio.get_running_loop().time()
    assert (await shop.reserve(0, {"a": 1})).verdicts == [GRANTED]
    assert asyncio.get_running_loop().time() - began < 0.25
    assert (await shop.reserve(0, {"a": 1})).verdicts == [GRANTED]
    assert asyncio.get_running_loop().time() - began < 0.25
    shop.store.answering.set()


@in_virtual_time
async def test_with_the_store_away_from_the_start_it_says_so() -> None:
    shop = Shop()
    shop.create("a", 5)
    shop.store.away = True
    assert (await shop.reserve(0, {"a": 1})).verdicts == [LEDGER_UNREACHABLE]
    shop.store.away = False
    assert (await shop.reserve(0, {"a": 1})).verdicts == [GRANTED]


@in_virtual_time
async def test_draining_counts_what_was_sold() -> None:
    shop = Shop()
    shop.create("a", 5)
    await shop.sell(await shop.reserve(0, {"a": 3}), {"a": 3})
    await shop.engines[0].drain(5.0)
    assert shop.counted("a") == 3
    assert shop.engines[0].units_uncounted() == 0


@in_virtual_time
async def test_over_how_many_servers_it_is_spread_is_learnt_from_the_reads() -> None:
    shop = Shop()
    shop.create("a", 5)
    assert list((await shop.reserve(0, {"a": 1})).owners) == []
    shop.store.owners["a"] = 3
    await asyncio.sleep(1)
    await shop.reserve(0, {"a": 1})
    assert list((await shop.reserve(0, {"a": 1})).owners) == [3]


@in_virtual_time
async def test_units_in_doubt_of_a_dead_gateway_do_not_keep_the_last_units_from_buyers() -> None:
    shop = Shop(2)
    shop.create("a", 5)
    for number in range(2):  # they know of each other, and share
        await shop.sell(await shop.reserve(number, {"a": 1}), {"a": 1})
    await asyncio.sleep(1)
    await shop.reserve(0, {"a": 1})  # nobody ever commits this
    began = asyncio.get_running_loop().time()
    assert (await shop.reserve(0, {"a": 1})).verdicts == [GRANTED]
    assert asyncio.get_running_loop().time() - began <= 2 * REFRESH_S
