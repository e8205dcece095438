"""An order that is watched at one gateway and moved at another; the watch goes on elsewhere when its gateway dies."""

import asyncio

import grpc
import pytest

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1.orders_pb2 import CancelOrderRequest, ConfirmOrderRequest, PlaceOrderRequest
from sluice.model import OrderState
from tests.integration.buying import Client, ask, connected, create_skus, order, until
from tests.integration.cluster.conftest import kill_and_start

ORDERS = 200


async def test_every_watch_hears_of_what_happens_at_the_other_gateway(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 1_000)
    requests = [order({name: 1}, hold_s=60) for _ in range(ORDERS)]

    async def watch_and_end(number: int, request: PlaceOrderRequest) -> list[tuple[int, OrderState]]:
        here, there = clients[number % 8], clients[(number + 1) % 8]
        await there.place_order(request, timeout=30)
        watch = aiter(here.watch_order(request.order_id))
        told = [(await anext(watch)).order]
        if number % 2:
            await ask(there.confirm_order, ConfirmOrderRequest(order_id=request.order_id))
        else:
            await ask(there.cancel_order, CancelOrderRequest(order_id=request.order_id))
        told += [each.order async for each in watch]
        return [(each.version, OrderState(each.state)) for each in told]

    for number, told in enumerate(await asyncio.gather(*(watch_and_end(*each) for each in enumerate(requests)))):
        assert told == [(1, OrderState.HELD), (2, OrderState.CONFIRMED if number % 2 else OrderState.CANCELLED)]


async def test_a_watch_outlasts_a_database_that_restarts(running: Cluster, clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    request = order({name: 1}, hold_s=600)
    await clients[0].place_order(request, timeout=30)
    watch = aiter(clients[1].watch_order(request.order_id, timeout_s=90))
    assert (await anext(watch)).order.state == OrderState.HELD
    await kill_and_start(running, "postgres")

    async def cancelled() -> bool:
        return (await ask(clients[0].cancel_order, CancelOrderRequest(order_id=request.order_id))).told == ACCEPTED

    await until("the order can be cancelled", cancelled)
    assert [each.order.state async for each in watch] == [OrderState.CANCELLED]


async def test_a_watch_goes_on_at_another_gateway(running: Cluster, name: str) -> None:
    async with connected(running.endpoints.gateways) as (dying, living):
        await create_skus(living, [name], 10)
        request = order({name: 1}, hold_s=60)
        await living.place_order(request, timeout=30)
        watch = dying.watch_order(request.order_id)
        version = (await watch.read()).order.version
        await kill_and_start(running, "gateway-0")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        watch = living.watch_order(request.order_id, after_version=version)
        await ask(living.cancel_order, CancelOrderRequest(order_id=request.order_id))
        assert [each.order.state async for each in watch] == [OrderState.CANCELLED]
