"""An order whose deadline passes before it is started is not placed; one that was started is settled by a retry."""

import asyncio

import grpc

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import Client, ask, create_skus, order, quiet_stock

STOCKDS = ("stockd-0", "stockd-1", "stockd-2")
GATEWAY_LANE = 4
"""Groups that one gateway has on the way to one stock server; whoever comes later waits in its queue."""


async def test_an_order_that_is_late_before_it_is_started_is_not_placed(
    running: Cluster, clients: list[Client], name: str
) -> None:
    """All stock servers hang: the first orders are on the way to one, the others queue behind them and run late."""
    await create_skus(clients[0], [name], 100)
    for stockd in STOCKDS:
        await asyncio.to_thread(running.process(stockd).stop)
    try:
        patient = []
        for _ in range(GATEWAY_LANE):
            patient.append(asyncio.ensure_future(ask(clients[0].place_order, order({name: 1}))))
            await asyncio.sleep(0.03)  # each a group of its own
        late = await asyncio.gather(*(ask(clients[0].place_order, order({name: 1}), 0.3) for _ in range(10)))
        assert {reply.code for reply in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    finally:
        for stockd in STOCKDS:
            await asyncio.to_thread(running.process(stockd).cont)
    await asyncio.gather(*patient)

    for reply in late:
        found = await ask(clients[1].get_order, orders_pb2.GetOrderRequest(order_id=reply.request.order_id))
        assert found.told == "ORDER_NOT_FOUND"
    again = [
        await ask(clients[1].place_order, reply.request) for reply in [*late, *[each.result() for each in patient]]
    ]
    assert {reply.told for reply in again} == {ACCEPTED}
    assert not any(reply.response.replayed for reply in again[: len(late)]), "a late order was placed"
    assert (await quiet_stock(clients[0], [name], limit_s=30.0))[name].sold == len(again)


async def test_client_and_system_agree_after_a_retry_whenever_the_deadline_struck(
    running: Cluster, clients: list[Client], name: str
) -> None:
    """Deadlines of 1 to 40 ms strike at every point of an order's way."""
    await create_skus(clients[0], [name], 1_000)
    orders = [order({name: 1}) for _ in range(200)]
    first = await asyncio.gather(
        *(
            ask(clients[number % len(clients)].place_order, each, (1 + number % 40) / 1000)
            for number, each in enumerate(orders)
        )
    )
    assert {reply.code for reply in first} <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert any(reply.code == grpc.StatusCode.DEADLINE_EXCEEDED for reply in first)
    again = await asyncio.gather(
        *(ask(clients[number % len(clients)].place_order, each) for number, each in enumerate(orders))
    )
    assert {reply.told for reply in again} == {ACCEPTED}
    for before, after in zip(first, again, strict=True):
        if before.told == ACCEPTED:
            assert after.response.replayed
            assert after.response.order == before.response.order
    assert (await quiet_stock(clients[0], [name], limit_s=30.0))[name].sold == len(orders)
