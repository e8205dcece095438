"""A customer gets at most so many units of a SKU, however the orders come; what is cancelled may be had again."""

import asyncio

import grpc
import pytest

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import (
    CALL_LIMIT_S,
    Client,
    ask,
    create_skus,
    order,
    place_all,
    quiet_stock,
    send_batches,
    told,
)
from tests.integration.embedded.conftest import Embedded, audit_files

LIMIT = 3


@pytest.fixture
def client(clients: list[Client]) -> Client:
    return clients[0]


async def set_limit(client: Client, sku: str, units: int) -> None:
    request = stock_pb2.SetCustomerLimitRequest(sku=sku, units=units)
    await client.set_customer_limit(request, timeout=CALL_LIMIT_S)


async def limit_of(client: Client, sku: str, customer_id: str) -> tuple[int, int]:
    request = stock_pb2.GetCustomerLimitRequest(sku=sku, customer_id=customer_id)
    answer = await client.get_customer_limit(request, timeout=CALL_LIMIT_S)
    return answer.units, answer.counted


async def test_orders_at_once_get_the_limit_and_not_more(
    clients: list[Client], client: Client, name: str, gateway: Embedded
) -> None:
    await create_skus(client, [name], 100)
    await set_limit(client, name, LIMIT)
    replies = await place_all(clients, [order({name: 1}, f"customer-{n % 5}-{name}") for n in range(100)])
    assert told(replies) == {ACCEPTED: 5 * LIMIT, "CUSTOMER_LIMIT": 100 - 5 * LIMIT}
    refused = next(reply for reply in replies if reply.told == "CUSTOMER_LIMIT")
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.blamed == {"sku": name, "limit": str(LIMIT)}
    assert (await quiet_stock(client, [name]))[name].sold == 5 * LIMIT
    assert await limit_of(client, name, f"customer-0-{name}") == (LIMIT, LIMIT)
    assert (await audit_files(gateway)).findings == []


async def test_on_a_stream_it_is_a_rejection(client: Client, name: str) -> None:
    await create_skus(client, [name], 100)
    await set_limit(client, name, LIMIT)
    results = await send_batches(client, [[order({name: 1}, name) for _ in range(10)]])
    assert [result.reason for result in results if result.outcome == orders_pb2.OUTCOME_REJECTED] == [
        "CUSTOMER_LIMIT"
    ] * (10 - LIMIT)


async def test_a_cart_beyond_one_limit_is_refused_whole(client: Client, name: str) -> None:
    limited, free = f"{name}-limited", f"{name}-free"
    await create_skus(client, [limited, free], 100)
    await set_limit(client, limited, LIMIT)
    assert (await ask(client.place_order, order({limited: LIMIT + 1, free: 1}, name))).told == "CUSTOMER_LIMIT"
    assert (await ask(client.place_order, order({limited: LIMIT, free: 50}, name))).told == ACCEPTED
    assert (await quiet_stock(client, [free]))[free].sold == 50


async def test_what_is_cancelled_or_expires_may_be_had_again(client: Client, name: str) -> None:
    await create_skus(client, [name], 100)
    await set_limit(client, name, LIMIT)
    first = await ask(client.place_order, order({name: LIMIT}, name))
    await client.cancel_order(orders_pb2.CancelOrderRequest(order_id=first.request.order_id), timeout=CALL_LIMIT_S)
    held = await ask(client.place_order, order({name: LIMIT}, name, hold_s=1.0))
    assert (first.told, held.told) == (ACCEPTED, ACCEPTED)
    while (await ask(client.place_order, order({name: LIMIT}, name))).told == "CUSTOMER_LIMIT":  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # the hold expires
    assert await limit_of(client, name, name) == (LIMIT, LIMIT)


async def test_the_same_order_again_is_answered_again_at_the_limit(client: Client, name: str) -> None:
    await create_skus(client, [name], 100)
    await set_limit(client, name, LIMIT)
    request = order({name: LIMIT}, name)
    assert (await ask(client.place_order, request)).told == ACCEPTED
    assert (await ask(client.place_order, request)).response.replayed


async def test_a_limit_of_a_sku_that_does_not_exist_is_refused(client: Client, name: str) -> None:
    refused = await ask(client.set_customer_limit, stock_pb2.SetCustomerLimitRequest(sku=name, units=1))
    assert refused.told == "SKU_NOT_FOUND"


async def test_a_limit_can_be_taken_away(client: Client, name: str) -> None:
    await create_skus(client, [name], 100)
    await set_limit(client, name, LIMIT)
    await set_limit(client, name, 0)
    assert (await ask(client.place_order, order({name: LIMIT + 1}, name))).told == ACCEPTED
    assert await limit_of(client, name, name) == (0, 0)
