"""A SKU with the policy `counter`, in one process: sold from memory, counted beside, and never lost count of."""

import asyncio

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import OUT_OF_STOCK, Client, ask, connected, create_skus, order, told
from tests.integration.embedded.conftest import Embedded, audit_files

UNITS = 300


async def _buy(clients: list[Client], requests: list[orders_pb2.PlaceOrderRequest]) -> dict[str, int]:
    replies = await asyncio.gather(
        *(ask(clients[number % len(clients)].place_order, request) for number, request in enumerate(requests))
    )
    return told(replies)


async def _stock(client: Client, sku: str) -> stock_pb2.GetStockResponse:
    response: stock_pb2.GetStockResponse = (await ask(client.get_stock, stock_pb2.GetStockRequest(sku=sku))).response
    return response


async def test_one_server_sells_exactly_what_there_is(clients: list[Client], name: str, gateway: Embedded) -> None:
    await create_skus(clients[0], [name], UNITS, "STOCK_POLICY_COUNTER")
    assert await _buy(clients, [order({name: 1}) for _ in range(1_000)]) == {
        "ACCEPTED": UNITS,
        OUT_OF_STOCK: 1_000 - UNITS,
    }
    await asyncio.sleep(0.3)  # the refresh interval, and some
    stock = await _stock(clients[0], name)
    assert (stock.restocked, stock.sold, stock.available, stock.escrow) == (UNITS, UNITS, 0, 0)
    assert (stock.max_oversell, stock.max_undersell) == (0, 0)
    assert (await audit_files(gateway)).findings == []


async def test_orders_sent_again_take_nothing(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], UNITS, "STOCK_POLICY_COUNTER")
    first = [order({name: 1}) for _ in range(UNITS // 2)]
    await _buy(clients, first)
    again = first + [order({name: 1}) for _ in range(UNITS)]
    assert await _buy(clients, again) == {"ACCEPTED": UNITS, OUT_OF_STOCK: UNITS // 2}


async def test_carts_with_exact_skus_get_all_or_none(clients: list[Client], name: str) -> None:
    counter, exact = f"{name}-counter", f"{name}-exact"
    await create_skus(clients[0], [counter], UNITS, "STOCK_POLICY_COUNTER")
    await create_skus(clients[0], [exact], UNITS // 2, "STOCK_POLICY_EXACT")
    answers = await _buy(clients, [order({counter: 1, exact: 1}) for _ in range(UNITS)])
    assert answers == {"ACCEPTED": UNITS // 2, OUT_OF_STOCK: UNITS // 2}
    assert await _buy(clients, [order({counter: 1}) for _ in range(UNITS)]) == {
        "ACCEPTED": UNITS // 2,
        OUT_OF_STOCK: UNITS // 2,
    }


async def test_lists_show_what_is_left(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], UNITS, "STOCK_POLICY_COUNTER")
    await _buy(clients, [order({name: 5})])
    await asyncio.sleep(0.3)
    page = (await ask(clients[0].list_skus, stock_pb2.ListSkusRequest(page_size=1_000))).response
    assert [summary.available for summary in page.skus if summary.sku == name] == [UNITS - 5]


async def test_a_killed_server_has_forgotten_no_sale_when_it_is_back(own_gateway: Embedded) -> None:
    sku = "coat"
    async with connected([own_gateway.endpoint], 4) as clients:
        await create_skus(clients[0], [sku], UNITS, "STOCK_POLICY_COUNTER")
        assert await _buy(clients, [order({sku: 1}) for _ in range(200)]) == {"ACCEPTED": 200}
        own_gateway.process.kill()  # most of them are not counted yet
    own_gateway.process.start()
    async with connected([own_gateway.endpoint], 4) as clients:
        await asyncio.sleep(1.5)  # it looks every second whether somebody is to be reclaimed
        assert await _buy(clients, [order({sku: 1}) for _ in range(200)]) == {"ACCEPTED": 100, OUT_OF_STOCK: 100}
        stock = await _stock(clients[0], sku)
        assert (stock.sold, stock.max_undersell) == (UNITS, 0)
    report = await audit_files(own_gateway)
    assert report.findings == []
