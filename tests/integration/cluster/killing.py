"""A burst of patient buyers during which something is killed, and what must be true afterwards."""

from collections.abc import Awaitable, Callable, Sequence

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import (
    OUT_OF_STOCK,
    Client,
    Reply,
    accepted,
    ask,
    create_skus,
    order,
    place_all_until_answered,
    quiet_stock,
    told,
    units_of,
)
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.events import created_events

SKUS = 12
UNITS = 60
ORDERS = 1_500
"""Twice as many units are wanted as there are."""


async def burst_while(
    running: Cluster, clients: Sequence[Client], name: str, in_the_middle: Callable[[], Awaitable[None]]
) -> list[Reply]:
    """Every buyer is answered; those told "accepted" have their order, its event and its units, and nobody else."""
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(clients[0], skus, UNITS)
    orders = [order({skus[number % SKUS]: 1}) for number in range(ORDERS)]
    replies = await place_all_until_answered(clients, orders, in_the_middle)

    counts = told(replies)
    assert counts[ACCEPTED] + counts[OUT_OF_STOCK] == ORDERS, counts
    bought = accepted(replies)
    for sku, stock in (await quiet_stock(clients[0], skus, limit_s=40.0)).items():
        assert stock.sold == units_of(bought)[sku] <= UNITS, sku
        assert stock.available == UNITS - stock.sold, sku
    for number, request in enumerate(bought):
        found = await ask(
            clients[number % len(clients)].get_order, orders_pb2.GetOrderRequest(order_id=request.order_id)
        )
        assert found.told == ACCEPTED, request.order_id
    assert (await audit_whole(running)).findings == []
    events = await created_events(running)
    assert {each.order_id: events[each.order_id] for each in orders} == {
        reply.request.order_id: int(reply.told == ACCEPTED) for reply in replies
    }
    return replies


async def sell_the_rest(clients: Sequence[Client], name: str) -> None:
    """What came back can be bought: every unit finds a buyer."""
    for number in range(SKUS):
        sku = f"{name}-{number}"
        left = (await quiet_stock(clients[0], [sku]))[sku].available
        for _ in range(left):
            assert (await ask(clients[0].place_order, order({sku: 1}))).told == ACCEPTED
        assert (await ask(clients[0].place_order, order({sku: 1}))).told == OUT_OF_STOCK
