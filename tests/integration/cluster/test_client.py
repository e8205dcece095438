"""The client library with several gateways that are killed one after the other: every order is decided exactly once."""

import asyncio

from deploy.local.cluster import Cluster
from sluice.client import Client, OutOfStock, Placed
from tests.integration.cluster.conftest import audit_whole, kill_and_start

BUYERS = 100
PAUSE_S = 0.05
"""Between the orders of a buyer, so that the sale lasts until both gateways have been killed."""

UNITS = 3_000
TIMEOUT_S = 60.0


async def test_every_order_is_decided_once_whichever_gateway_dies(running: Cluster, name: str) -> None:
    told: list[Placed | OutOfStock] = []
    under_way = asyncio.Event()
    broken = asyncio.Event()

    async def buyer(client: Client, number: int) -> None:
        while not broken.is_set():
            try:
                told.append(await client.place(name, customer=f"{name}-{number}"))
            except OutOfStock as error:
                told.append(error)
            under_way.set()
            await asyncio.sleep(PAUSE_S)

    async def break_in() -> None:
        for gateway in ("gateway-0", "gateway-1"):
            under_way.clear()
            await under_way.wait()
            await kill_and_start(running, gateway)
        broken.set()

    async with Client(f"ipv4:{','.join(running.endpoints.gateways)}", timeout_s=TIMEOUT_S) as client:
        await client.create_sku(name, UNITS)
        await asyncio.gather(break_in(), *(buyer(client, number) for number in range(BUYERS)))
        assert len({answer.order_id for answer in told}) == len(told)
        placed = {answer.order_id for answer in told if isinstance(answer, Placed)}
        # A refusal in doubt may be of an order that stands: the gateway that died had placed it.
        doubtful = {answer.order_id for answer in told if isinstance(answer, OutOfStock) and answer.in_doubt}
        found = [
            order.order_id
            for number in range(BUYERS)
            async for order in client.list_orders(customer=f"{name}-{number}")
        ]
        assert len(set(found)) == len(found) <= UNITS
        assert placed
        assert placed <= set(found) <= placed | doubtful
    assert (await audit_whole(running)).findings == []
