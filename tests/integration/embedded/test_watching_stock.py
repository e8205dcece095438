"""Who watches a SKU hears how it stands, and of orders, returns and restocks, across restarts, up to a limit."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.rpc.failure import reason_of
from tests.integration.buying import Client, ask, connected, create_skus, order
from tests.integration.embedded.conftest import make_embedded

ROOT = Path(__file__).parents[3]


async def until_told(watch: Any, wanted: Callable[[stock_pb2.GetStockResponse], bool]) -> stock_pb2.WatchStockResponse:
    async with asyncio.timeout(20):
        while True:
            response: stock_pb2.WatchStockResponse = await watch.read()
            stock = response.stock
            assert stock.available + stock.escrow + stock.sold == stock.restocked
            if wanted(stock):
                return response


async def reason_of_end(watch: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch.read()
    return caught.value.code(), reason_of(caught.value)


async def test_every_way_in_which_stock_changes(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    watch = clients[0].watch_stock(name)
    await until_told(watch, lambda stock: (stock.restocked, stock.sold) == (10, 0))
    placed = order({name: 3})
    await clients[1].place_order(placed, timeout=10)
    await until_told(watch, lambda stock: stock.sold == 3)
    await ask(clients[1].cancel_order, orders_pb2.CancelOrderRequest(order_id=placed.order_id))
    await until_told(watch, lambda stock: stock.sold == 0)
    await ask(clients[1].restock, stock_pb2.RestockRequest(sku=name, restock_id=str(uuid4()), units=5))
    await until_told(watch, lambda stock: stock.restocked == 15)
    watch.cancel()


async def test_a_sku_that_nobody_created(clients: list[Client], name: str) -> None:
    assert await reason_of_end(clients[0].watch_stock(name)) == (grpc.StatusCode.NOT_FOUND, "SKU_NOT_FOUND")


async def test_limit_end_and_going_on_after_a_restart(tmp_path: Path) -> None:
    embedded = make_embedded(tmp_path, "--max-stock-watches", "2")
    embedded.process.start()
    try:
        async with connected([embedded.endpoint]) as (client,):
            await create_skus(client, ["tea"], 10)
            await client.place_order(order({"tea": 1}), timeout=10)
            watches = [client.watch_stock("tea") for _ in range(2)]
            for watch in watches:
                await until_told(watch, lambda stock: stock.sold == 1)
            full = await reason_of_end(client.watch_stock("tea"))
            assert full == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
            stopping = asyncio.create_task(asyncio.to_thread(embedded.process.terminate))
            code, reason = await _end(watches[0])
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
            await stopping
        await asyncio.to_thread(embedded.process.start)
        async with connected([embedded.endpoint]) as (client,):
            stands = await client.watch_stock("tea").read()
            watch = client.watch_stock("tea", stands.resume_token)
            reading = asyncio.create_task(watch.read())
            await asyncio.sleep(1)
            assert not reading.done()
            await client.place_order(order({"tea": 2}), timeout=10)
            first = await reading
            assert first.resume_token != stands.resume_token
            if first.stock.sold != 3:  # seen while it was being decided
                await until_told(watch, lambda stock: stock.sold == 3)
    finally:
        await asyncio.to_thread(embedded.process.kill)


async def _end(watch: Any) -> tuple[grpc.StatusCode, str]:
    """Whatever is told before it."""
    try:
        while True:
            await watch.read()
    except grpc.aio.AioRpcError as error:
        return error.code(), reason_of(error)


async def test_the_command_shows_one_line_for_each_change(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    command = [sys.executable, "-m", "commands.main", "stock", "watch", name, "--json"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=os.environ | {"SLUICE_ENDPOINT": clients[0].endpoint},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert json.loads(await process.stdout.readline())["stock"]["sold"] == "0"
            await clients[0].place_order(order({name: 4}), timeout=10)
            while json.loads(await process.stdout.readline())["stock"]["sold"] != "4":
                pass
    finally:
        process.kill()
        await process.wait()
