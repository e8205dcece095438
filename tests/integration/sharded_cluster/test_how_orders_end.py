"""Orders in four journals, asked for, watched, listed and ended through gateways that know nothing of each other."""

import asyncio
import random

import grpc

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.model import OrderState
from sluice.sharding import shard_of
from tests.integration.buying import Client, ask, create_skus, order, place_all, quiet_stock, until
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.test_holds import check_each_ended_once, place_and_end_all
from tests.integration.sharded_cluster.conftest import JOURNALS

UNITS = 400


async def test_pages_of_a_list_go_through_all_journals_by_descending_id(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], UNITS)
    orders = [order({name: 1}, customer_id=name) for _ in range(100)]
    assert {reply.told for reply in await place_all(clients, orders)} == {ACCEPTED}
    listed: list[str] = []
    token = ""
    while True:
        asked = orders_pb2.ListOrdersRequest(customer_id=name, page_size=7, page_token=token)
        page = (await ask(clients[len(listed) % 8].list_orders, asked)).response
        listed += [each.order_id for each in page.orders]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted((each.order_id for each in orders), reverse=True)


async def test_cancelling_gives_back_each_unit_and_a_watch_tells_of_it(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], UNITS)
    orders = [order({name: 2}) for _ in range(80)]
    assert {reply.told for reply in await place_all(clients, orders)} == {ACCEPTED}
    assert {shard_of(each.order_id, JOURNALS) for each in orders} == set(range(JOURNALS))
    watches = [clients[number % 8].watch_order(each.order_id, 1) for number, each in enumerate(orders)]
    seen = [asyncio.ensure_future(anext(aiter(watch))) for watch in watches]
    cancelled = await asyncio.gather(
        *(ask(clients[-1].cancel_order, orders_pb2.CancelOrderRequest(order_id=each.order_id)) for each in orders)
    )
    assert {reply.response.order.state for reply in cancelled} == {OrderState.CANCELLED}
    assert {each.order.state for each in await asyncio.gather(*seen)} == {OrderState.CANCELLED}
    stock = (await quiet_stock(clients[0], [name]))[name]
    assert (stock.sold, stock.available) == (0, UNITS)
    assert (await audit_whole(running)).findings == []


async def test_of_all_that_ends_a_hold_exactly_one_counts(running: Cluster, clients: list[Client], name: str) -> None:
    skus = [f"{name}-{number}" for number in range(6)]
    await create_skus(clients[0], skus, UNITS)
    rng = random.Random(13)
    requests = [order({sku: rng.randint(1, 3) for sku in rng.sample(skus, 2)}, hold_s=2.0) for _ in range(200)]
    replies = await place_and_end_all(clients, requests, rng)
    assert {reply.told for reply in replies} == {ACCEPTED, "ORDER_STATE"}
    await check_each_ended_once(running, clients, requests, skus)


async def test_more_of_a_counter_sku_than_there_is_is_cancelled_wherever_it_was_sold(
    running: Cluster, clients: list[Client], name: str
) -> None:
    """Compensation adds up what all journals tell."""
    await create_skus(clients[0], [name], 50, policy="STOCK_POLICY_COUNTER")
    orders = [order({name: 1}) for _ in range(400)]
    replies = await place_all(clients, orders)
    taken = [reply.request for reply in replies if reply.told == ACCEPTED]
    assert len(taken) >= 50

    async def all_but_50_are_cancelled() -> bool:
        found = await asyncio.gather(
            *(ask(clients[0].get_order, orders_pb2.GetOrderRequest(order_id=each.order_id)) for each in taken)
        )
        return sum(reply.response.order.state == OrderState.CREATED for reply in found) == 50

    await until("compensation is done", all_but_50_are_cancelled)
    assert (await audit_whole(running)).findings == []


async def test_a_limit_per_customer_is_refused_because_nobody_could_keep_it(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], UNITS)
    refused = await ask(clients[0].set_customer_limit, stock_pb2.SetCustomerLimitRequest(sku=name, units=2))
    assert (refused.code, refused.told) == (grpc.StatusCode.FAILED_PRECONDITION, "LIMITS_NEED_ONE_JOURNAL")
    asked = await ask(clients[0].get_customer_limit, stock_pb2.GetCustomerLimitRequest(sku=name))
    assert asked.response.units == 0
