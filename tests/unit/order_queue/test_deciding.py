"""Orders of a queue are decided in its order, once, and rejected only for what is true."""

import asyncio

import pytest

from consumers.queue import WAIT_LIMIT_S
from consumers.runtime.handling import Poison
from sluice.errors import JournalUnreachable, Unreachable
from tests.unit.order_queue.shop import Shop, requested, wants
from tests.unit.virtual_time import clock, in_virtual_time

OUT = "OUT_OF_STOCK"


@in_virtual_time
async def test_who_came_first_is_served_first() -> None:
    shop = Shop(tea=4)
    orders = [wants(1, tea=1), wants(2, tea=2), wants(3, tea=2), wants(4, tea=1), wants(5, tea=1)]
    await shop.handle(orders)
    assert shop.outcomes(orders) == ["CREATED", "CREATED", OUT, "CREATED", OUT]
    assert shop.decided == [order.order_id for order in orders]
    assert shop.audit(orders) == []
    assert shop.counts == {"accepted": 3, OUT: 2}


@in_virtual_time
async def test_handling_all_of_it_again_changes_nothing() -> None:
    shop = Shop(tea=1)
    orders = [wants(1, tea=1), wants(2, tea=1), wants(3, coffee=1)]
    await shop.handle(orders)
    before, placed = dict(shop.orders), len(shop.placed)
    shop.restock("tea", 5)
    await shop.handle([*orders, orders[0]])
    assert shop.orders == before
    assert len(shop.placed) == placed, "what stands is not placed again"
    assert shop.outcomes(orders) == ["CREATED", OUT, "SKU_NOT_FOUND"]


@in_virtual_time
async def test_of_an_id_that_is_there_twice_the_first_counts() -> None:
    shop = Shop(tea=5)
    first, second = wants(1, tea=2), wants(1, tea=3)
    await shop.handle([first, second])
    assert shop.orders[first.order_id].lines == first.lines
    assert shop.units["tea"] == 3


@in_virtual_time
async def test_units_that_are_hidden_are_waited_for_and_nobody_overtakes() -> None:
    shop = Shop(tea=3)
    shop.hidden["tea"] = 2
    orders = [wants(1, tea=2), wants(2, tea=1), wants(3, tea=1)]
    handling = asyncio.ensure_future(shop.handle(orders))
    await asyncio.sleep(5.0)
    assert shop.outcomes(orders) == ["-", "-", "-"]
    shop.hidden.clear()
    await handling
    assert shop.outcomes(orders) == ["CREATED", "CREATED", OUT]
    assert shop.audit(orders) == []


@in_virtual_time
async def test_other_queues_go_on_meanwhile() -> None:
    shop = Shop(tea=1, cup=1)
    shop.hidden["tea"] = 1
    tea, cup = wants(1, tea=1), wants(2, cup=1)
    with pytest.raises(Unreachable, match="units of tea are there"):
        await shop.handle([tea, cup])
    assert clock() >= WAIT_LIMIT_S
    assert shop.outcomes([tea, cup]) == ["-", "CREATED"]


@in_virtual_time
async def test_what_is_away_is_waited_for_and_rejects_nobody() -> None:
    shop = Shop(tea=1)
    orders = [wants(1, tea=1), wants(2, tea=1)]
    shop.away = True
    with pytest.raises(Unreachable, match="STOCK_UNREACHABLE"):
        await shop.handle(orders)
    shop.away, shop.journal_away = False, True
    with pytest.raises(JournalUnreachable):
        await shop.handle(orders)
    assert shop.outcomes(orders) == ["-", "-"]
    shop.journal_away = False
    await shop.handle(orders)
    assert shop.outcomes(orders) == ["CREATED", OUT]


@in_virtual_time
async def test_a_rejection_whose_answer_is_lost_stands_once() -> None:
    shop = Shop(tea=0)
    orders = [wants(1, tea=1), wants(2, tea=1)]
    shop.lose_answers_of_rejections = 1
    with pytest.raises(JournalUnreachable):
        await shop.handle(orders)
    await shop.handle(orders)
    assert shop.outcomes(orders) == [OUT, OUT]


@in_virtual_time
async def test_a_limit_of_the_customer_is_final_and_the_units_are_for_the_next() -> None:
    shop = Shop(tea=1)
    shop.limited.add("anna")
    limited, other = wants(1, tea=1), wants(2, tea=1)._replace(customer_id="bert")
    await shop.handle([limited, other])
    assert shop.outcomes([limited, other]) == ["CUSTOMER_LIMIT", "CREATED"]


@in_virtual_time
async def test_who_sold_to_it_meanwhile_is_believed() -> None:
    """Another process, which lost the partition and does not know it yet."""
    shop = Shop(tea=1)
    shop.hidden["tea"] = 1
    order = wants(1, tea=1)
    handling = asyncio.ensure_future(shop.handle([order]))
    await asyncio.sleep(1.0)
    shop.sell(order)
    await handling
    assert shop.outcomes([order]) == ["CREATED"]


@in_virtual_time
async def test_those_who_want_the_same_travel_together_and_sold_out_costs_one_look() -> None:
    shop = Shop(tea=300)
    orders = [wants(number, tea=1) for number in range(1, 1_001)]
    looks = 0
    read_stock = shop.queue._read_stock

    async def counted(sku: str):
        nonlocal looks
        looks += 1
        return await read_stock(sku)

    shop.queue._read_stock = counted
    await shop.handle(orders)
    assert shop.outcomes(orders) == ["CREATED"] * 300 + [OUT] * 700
    assert looks == 1
    assert len(shop.placed) == 1_000


@in_virtual_time
async def test_what_no_gateway_wrote_is_poison() -> None:
    shop = Shop(tea=1)
    (logged,) = requested([wants(1, tea=1)])
    broken = logged._replace(event=logged.event._replace(value=b"\xff"))
    with pytest.raises(Poison):
        await shop.queue.handle([broken])
