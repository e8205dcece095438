"""The client library with several gateways that are killed one after the other: every order is decided exactly once."""

import asyncio

from deploy.local.cluster import Cluster
from sluice.client import Client, OutOfStock, Placed
from tests.integration.cluster.conftest import audit_whole, kill_and_start

BUYERS = 1_000
ORDERS_EACH = 4
UNITS = 2_000
TIMEOUT_S = 60.0


async def test_every_order_is_decided_once_whichever_gateway_dies(running: Cluster, name: str) -> None:
    answered = 0
    a_fifth, half = asyncio.Event(), asyncio.Event()
    everything = BUYERS * ORDERS_EACH

    async def buyer(client: Client, number: int) -> list[Placed | OutOfStock]:
        nonlocal answered
        told: list[Placed | OutOfStock] = []
        for _ in range(ORDERS_EACH):
            try:
                told.append(await client.place(name, customer=f"{name}-{number}"))
            except OutOfStock as error:
                told.append(error)
            answered += 1
            if answered >= everything // 5:
                a_fifth.set()
            if answered >= everything // 2:
                half.set()
        return told

    async def break_in() -> None:
        for moment, gateway in ((a_fifth, "gateway-0"), (half, "gateway-1")):
            await moment.wait()
            assert answered < everything, "the sale was over before anything was broken"
            await kill_and_start(running, gateway)

    async with Client(f"ipv4:{','.join(running.endpoints.gateways)}", timeout_s=TIMEOUT_S) as client:
        await client.create_sku(name, UNITS)
        breaking = asyncio.create_task(break_in())
        answers = await asyncio.gather(*(buyer(client, number) for number in range(BUYERS)))
        await breaking
        told = [answer for own in answers for answer in own]
        placed = {answer.order_id for answer in told if isinstance(answer, Placed)}
        # A refusal in doubt may be of an order that stands: the gateway that died had placed it.
        doubtful = {answer.order_id for answer in told if isinstance(answer, OutOfStock) and answer.in_doubt}
        assert len({answer.order_id for answer in told}) == len(told) == everything
        found = [
            order.order_id
            for number in range(BUYERS)
            async for order in client.list_orders(customer=f"{name}-{number}")
        ]
        assert len(set(found)) == len(found) <= UNITS
        assert placed <= set(found) <= placed | doubtful
    assert (await audit_whole(running)).findings == []
