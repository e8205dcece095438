"""Nobody hears "out of stock" because of units that the orders decided beside it turn out not to need."""

import pytest

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import (
    CALL_LIMIT_S,
    OUT_OF_STOCK,
    Client,
    create_skus,
    order,
    send_batches,
)

UNITS = 150
SOLD_BEFORE = 100

POLICIES = ("STOCK_POLICY_EXACT", "STOCK_POLICY_ESCROW", "STOCK_POLICY_COUNTER")


@pytest.mark.parametrize("policy", POLICIES)
async def test_orders_sent_again_in_the_same_message_leave_the_last_units_to_new_ones(
    clients: list[Client], name: str, policy: str
) -> None:
    await create_skus(clients[0], [name], UNITS, policy)
    first = [order({name: 1}) for _ in range(SOLD_BEFORE)]
    await send_batches(clients[0], [first])
    results = await send_batches(clients[0], [first + [order({name: 1}) for _ in range(100)]])
    assert sum(result.replayed for result in results) == SOLD_BEFORE
    news = [result for result in results if not result.replayed]
    assert sum(result.outcome == orders_pb2.OUTCOME_ACCEPTED for result in news) == UNITS - SOLD_BEFORE
    assert {result.reason for result in news if result.outcome != orders_pb2.OUTCOME_ACCEPTED} == {OUT_OF_STOCK}


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_customer_beyond_the_limit_takes_nothing_from_those_behind(
    clients: list[Client], name: str, policy: str
) -> None:
    await create_skus(clients[0], [name], UNITS, policy)
    await clients[0].set_customer_limit(stock_pb2.SetCustomerLimitRequest(sku=name, units=1), timeout=CALL_LIMIT_S)
    greedy = [order({name: 1}, f"greedy-{name}") for _ in range(UNITS)]
    others = [order({name: 1}, f"customer-{number}-{name}") for number in range(UNITS - 1)]
    results = await send_batches(clients[0], [greedy + others])
    assert sum(result.outcome == orders_pb2.OUTCOME_ACCEPTED for result in results) == UNITS
    assert {result.reason for result in results if result.outcome != orders_pb2.OUTCOME_ACCEPTED} == {"CUSTOMER_LIMIT"}
