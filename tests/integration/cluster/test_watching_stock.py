"""Stock that is watched at one gateway and sold at another; the watch goes on elsewhere when its gateway dies."""

import asyncio
from typing import Any

import grpc
import pytest

from deploy.local.cluster import Cluster
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import Client, connected, create_skus, order
from tests.integration.cluster.conftest import kill_and_start


async def until_sold(watch: Any, units: int) -> stock_pb2.WatchStockResponse:
    async with asyncio.timeout(60):
        while True:
            response: stock_pb2.WatchStockResponse = await watch.read()
            stock = response.stock
            assert stock.available + stock.escrow + stock.sold == stock.restocked
            if stock.sold == units:
                return response


async def test_watches_at_both_gateways_hear_of_every_sale(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 1_000)
    watches = [client.watch_stock(name, timeout_s=120) for client in clients for _ in range(5)]
    reading = [asyncio.create_task(until_sold(watch, 200)) for watch in watches]
    requests = [order({name: 1}) for _ in range(200)]
    await asyncio.gather(*(clients[n % 8].place_order(each, timeout=30) for n, each in enumerate(requests)))
    await asyncio.gather(*reading)
    for watch in watches:
        watch.cancel()


async def test_a_watch_goes_on_at_another_gateway(running: Cluster, name: str) -> None:
    async with connected(running.endpoints.gateways) as (dying, living):
        await create_skus(living, [name], 10)
        await living.place_order(order({name: 1}), timeout=30)
        watch = dying.watch_stock(name, timeout_s=120)
        token = (await until_sold(watch, 1)).resume_token
        await kill_and_start(running, "gateway-0")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await until_sold(watch, 2)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        watch = living.watch_stock(name, token, timeout_s=120)
        await living.place_order(order({name: 2}), timeout=30)
        await until_sold(watch, 3)
        watch.cancel()
