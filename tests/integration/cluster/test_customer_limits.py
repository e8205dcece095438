"""Two gateways together give no customer more than the limit, also while customers cancel and order again."""

import asyncio
import random
from collections import Counter

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import CALL_LIMIT_S, Client, ask, create_skus, order, quiet_stock, send_batches
from tests.integration.cluster.conftest import audit_whole

LIMIT = 4
UNITS = 200


async def test_two_gateways_keep_to_one_limit(running: Cluster, clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], UNITS)
    limit = stock_pb2.SetCustomerLimitRequest(sku=name, units=LIMIT)
    await clients[0].set_customer_limit(limit, timeout=CALL_LIMIT_S)
    rng = random.Random(4)
    have: Counter[str] = Counter()

    async def buy(number: int) -> None:
        customer, units = f"customer-{number % 6}-{name}", rng.randint(1, 2)
        reply = await ask(clients[number % len(clients)].place_order, order({name: units}, customer))
        assert reply.told in (ACCEPTED, "CUSTOMER_LIMIT")
        if reply.told != ACCEPTED:
            return
        if rng.random() < 0.3:
            cancel = orders_pb2.CancelOrderRequest(order_id=reply.request.order_id)
            assert (await ask(clients[-number % len(clients)].cancel_order, cancel)).told == ACCEPTED
        else:
            have[customer] += units

    for _ in range(4):
        await asyncio.gather(*(buy(number) for number in range(60)))
    assert have
    assert max(have.values()) <= LIMIT
    assert (await quiet_stock(clients[0], [name], limit_s=40.0))[name].sold == have.total()
    for customer, units in have.items():
        asked = stock_pb2.GetCustomerLimitRequest(sku=name, customer_id=customer)
        answer = await clients[1].get_customer_limit(asked, timeout=CALL_LIMIT_S)
        assert (answer.units, answer.counted) == (LIMIT, units)
    assert (await audit_whole(running)).findings == []


async def test_a_customer_beyond_the_limit_takes_nothing_from_those_behind(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], UNITS)
    limit = stock_pb2.SetCustomerLimitRequest(sku=name, units=1)
    await clients[0].set_customer_limit(limit, timeout=CALL_LIMIT_S)
    greedy = [order({name: 1}, f"greedy-{name}") for _ in range(UNITS)]
    others = [order({name: 1}, f"customer-{number}-{name}") for number in range(UNITS)]
    results = await send_batches(clients[0], [greedy + others])
    assert Counter(result.reason for result in results) == {"": UNITS, "CUSTOMER_LIMIT": UNITS - 1, "OUT_OF_STOCK": 1}
    assert (await quiet_stock(clients[0], [name], limit_s=40.0))[name].sold == UNITS
