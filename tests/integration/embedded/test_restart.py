"""The embedded gateway stopped and started, or killed in the middle of a burst: every order and every unit is there."""

import asyncio

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import (
    OUT_OF_STOCK,
    accepted,
    ask,
    connected,
    create_skus,
    order,
    place_all,
    place_all_until_answered,
    quiet_stock,
    told,
    units_of,
)
from tests.integration.embedded.conftest import Embedded, audit_files

SKUS = ("apple", "pear", "plum")
UNITS = 200
ORDERS = 1_200


async def test_orders_and_units_survive_a_restart(own_gateway: Embedded) -> None:
    orders = [order({SKUS[number % 3]: 1}) for number in range(300)]
    async with connected([own_gateway.endpoint], 4) as clients:
        await create_skus(clients[0], SKUS, UNITS)
        before = await place_all(clients, orders)
        stock_before = await quiet_stock(clients[0], SKUS)
    assert told(before) == {ACCEPTED: 300}

    await asyncio.to_thread(own_gateway.process.terminate)
    await asyncio.to_thread(own_gateway.process.start)

    async with connected([own_gateway.endpoint], 4) as clients:
        for reply in before:
            found = await ask(clients[0].get_order, orders_pb2.GetOrderRequest(order_id=reply.request.order_id))
            assert found.response.order == reply.response.order
        for sku, stock in (await quiet_stock(clients[0], SKUS)).items():
            was = stock_before[sku]
            assert (stock.restocked, stock.available, stock.sold) == (was.restocked, was.available, was.sold)
        again = await place_all(clients, orders)
        assert all(reply.told == ACCEPTED and reply.response.replayed for reply in again)
        assert told(await place_all(clients, [order({SKUS[n % 3]: 1}) for n in range(450)])) == {
            ACCEPTED: 300,
            OUT_OF_STOCK: 150,
        }
    assert (await audit_files(own_gateway)).findings == []


async def test_orders_and_units_survive_kill_in_a_burst(own_gateway: Embedded) -> None:
    async def kill_and_start() -> None:
        await asyncio.to_thread(own_gateway.process.kill)
        await asyncio.to_thread(own_gateway.process.start)

    orders = [order({SKUS[number % 3]: 1}) for number in range(ORDERS)]
    async with connected([own_gateway.endpoint], 4) as clients:
        await create_skus(clients[0], SKUS, UNITS)
        replies = await place_all_until_answered(clients, orders, kill_and_start)

        counts = told(replies)
        assert counts[ACCEPTED] + counts[OUT_OF_STOCK] == ORDERS, counts
        bought = units_of(accepted(replies))
        for sku, stock in (await quiet_stock(clients[0], SKUS, limit_s=20.0)).items():
            assert stock.sold == bought[sku] <= UNITS
            assert stock.available == UNITS - bought[sku]
            for _ in range(stock.available):
                assert (await ask(clients[0].place_order, order({sku: 1}))).told == ACCEPTED
        for request in accepted(replies):
            found = await ask(clients[0].get_order, orders_pb2.GetOrderRequest(order_id=request.order_id))
            assert found.told == ACCEPTED
    report = await audit_files(own_gateway)
    assert report.findings == []
    assert report.orders == len(SKUS) * UNITS
