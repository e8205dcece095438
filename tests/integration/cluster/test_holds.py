"""Holds in a cluster: confirmed through one gateway, cancelled through the other, expired by either, also while one of
them is killed: each hold ends once, and every unit is sold or available afterwards.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1 import orders_pb2
from sluice.model import HOLDS_UNITS, OrderState
from tests.integration.buying import (
    RETRY_PAUSE_S,
    UNANSWERED,
    Client,
    Reply,
    ask,
    create_skus,
    order,
    place_until_answered,
    quiet_stock,
    units_of,
    until,
)
from tests.integration.cluster.conftest import audit_whole, kill_and_start

SKUS = 6
UNITS = 400
ORDERS = 200


async def until_answered(methods: Sequence[Any], request: Any, first: int) -> Reply:
    """The same call again, to the next gateway, while nobody gives a final answer."""
    attempt = first
    while True:
        reply = await ask(methods[attempt % len(methods)], request, 5.0)
        if reply.code not in UNANSWERED:
            return reply
        attempt += 1
        await asyncio.sleep(RETRY_PAUSE_S)


async def place_and_end_all(
    clients: Sequence[Client], requests: Sequence[orders_pb2.PlaceOrderRequest], rng: random.Random
) -> list[Reply]:
    """Each order is placed, and confirmed or cancelled twice, or once each, around the time when it expires; or left
    alone.
    """
    confirm = ([each.confirm_order for each in clients], orders_pb2.ConfirmOrderRequest)
    cancel = ([each.cancel_order for each in clients], orders_pb2.CancelOrderRequest)

    async def end(number: int, request: orders_pb2.PlaceOrderRequest) -> list[Reply]:
        assert (await place_until_answered(clients, request, number)).told == ACCEPTED
        await asyncio.sleep(rng.uniform(0.5, 3.5))
        doing = rng.choice([(confirm, confirm), (confirm, cancel), (cancel, confirm), (cancel, cancel), ()])
        replies = await asyncio.gather(
            *(
                until_answered(methods, message(order_id=request.order_id), number + place)
                for place, (methods, message) in enumerate(doing)
            )
        )
        if doing and doing[0] is doing[1]:
            assert len({reply.told for reply in replies}) == 1
            assert len({str(reply.response or sorted(reply.blamed.items())) for reply in replies}) == 1
        return replies

    return [reply for of_one in await asyncio.gather(*(end(*each) for each in enumerate(requests))) for reply in of_one]


async def check_each_ended_once(
    running: Cluster, clients: Sequence[Client], requests: Sequence[orders_pb2.PlaceOrderRequest], skus: Sequence[str]
) -> None:
    final: dict[str, orders_pb2.Order] = {}

    async def all_ended() -> bool:
        for request in requests:
            asked = orders_pb2.GetOrderRequest(order_id=request.order_id)
            final[request.order_id] = (await ask(clients[0].get_order, asked)).response.order
        return all(each.state != OrderState.HELD for each in final.values())

    await until("every hold has ended", all_ended)
    states = Counter(OrderState(each.state) for each in final.values())
    assert states.keys() == {OrderState.CONFIRMED, OrderState.CANCELLED, OrderState.EXPIRED}, states
    keep = [request for request in requests if final[request.order_id].state in HOLDS_UNITS]
    for sku, stock in (await quiet_stock(clients[0], skus, limit_s=40.0)).items():
        assert stock.sold == units_of(keep)[sku], sku
    assert (await audit_whole(running)).findings == []


async def test_of_all_that_ends_a_hold_exactly_one_counts(running: Cluster, clients: list[Client], name: str) -> None:
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(clients[0], skus, UNITS)
    rng = random.Random(11)
    requests = [order({sku: rng.randint(1, 3) for sku in rng.sample(skus, 2)}, hold_s=2.0) for _ in range(ORDERS)]
    replies = await place_and_end_all(clients, requests, rng)
    assert {reply.told for reply in replies} == {ACCEPTED, "ORDER_STATE"}
    await check_each_ended_once(running, clients, requests, skus)


async def test_a_gateway_that_is_killed_meanwhile_ends_no_hold_twice_and_keeps_no_unit(
    running: Cluster, clients: list[Client], name: str
) -> None:
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(clients[0], skus, UNITS)
    rng = random.Random(12)
    requests = [order({sku: rng.randint(1, 3) for sku in rng.sample(skus, 2)}, hold_s=3.0) for _ in range(ORDERS)]

    async def break_in() -> None:
        for gateway in ("gateway-0", "gateway-1"):
            await asyncio.sleep(1.0)
            await kill_and_start(running, gateway)

    replies, _ = await asyncio.gather(place_and_end_all(clients, requests, rng), break_in())
    assert {reply.told for reply in replies} == {ACCEPTED, "ORDER_STATE"}
    await check_each_ended_once(running, clients, requests, skus)
