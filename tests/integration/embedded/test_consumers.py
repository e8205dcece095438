"""Consumers inside the one process: every order goes its way, checks cancel, and kill -9 loses and repeats nothing."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import Client, ask, connected, create_skus, order, place_all, quiet_stock, told, until
from tests.integration.embedded.conftest import Embedded, audit_files, make_embedded

CHECKS = ("--check-blocked-customers", "mallory", "--check-max-order-units", "5")


def with_lifecycle(directory: Path) -> Embedded:
    return make_embedded(directory, "--consumers", "lifecycle,compensation", "--lifecycle-share", "1", *CHECKS)


async def states(client: Client, requests: Sequence[orders_pb2.PlaceOrderRequest]) -> Counter[tuple[int, str]]:
    found: Counter[tuple[int, str]] = Counter()
    for request in requests:
        reply = await ask(client.get_order, orders_pb2.GetOrderRequest(order_id=request.order_id))
        found[reply.response.order.state, reply.response.order.reason] += 1
    return found


async def test_orders_are_confirmed_or_cancelled_by_a_check_across_kills(tmp_path: Path) -> None:
    embedded = with_lifecycle(tmp_path)
    embedded.process.start()
    try:
        requests = [order({"tea": 1}) for _ in range(150)]
        requests += [order({"tea": 1}, customer_id="mallory") for _ in range(10)]
        requests += [order({"tea": 6}) for _ in range(5)]
        async with connected([embedded.endpoint], 4) as clients:
            await create_skus(clients[0], ("tea",), 1_000)
            assert told(await place_all(clients, requests)) == {ACCEPTED: 165}
            await asyncio.to_thread(embedded.process.kill)
            await asyncio.to_thread(embedded.process.start)
        async with connected([embedded.endpoint], 4) as clients:

            async def all_final() -> bool:
                return await states(clients[0], requests) == {
                    (orders_pb2.ORDER_STATE_CONFIRMED, ""): 150,
                    (orders_pb2.ORDER_STATE_CANCELLED, "CUSTOMER_BLOCKED"): 10,
                    (orders_pb2.ORDER_STATE_CANCELLED, "TOO_MANY_UNITS"): 5,
                }

            await until("every order is confirmed, or cancelled with its reason", all_final)
            assert (await quiet_stock(clients[0], ("tea",)))["tea"].sold == 150
    finally:
        await asyncio.to_thread(embedded.process.terminate)
    assert (await audit_files(embedded)).findings == []


async def test_without_lifecycle_orders_stay_created(own_gateway: Embedded) -> None:
    requests = [order({"tea": 1}) for _ in range(20)]
    async with connected([own_gateway.endpoint], 2) as clients:
        await create_skus(clients[0], ("tea",), 100)
        await place_all(clients, requests)
        await asyncio.sleep(1)
        assert await states(clients[0], requests) == {(orders_pb2.ORDER_STATE_CREATED, ""): 20}
