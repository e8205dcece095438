"""The ceiling: a server that reads orders, does nothing with them, and accepts them all."""

import sys
from collections.abc import AsyncIterator
from typing import Any

from bench.answering import answer
from commands import process
from commands.options import load
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc import server
from sluice.settings import CommonSettings

_ACCEPTED = orders_pb2.OUTCOME_ACCEPTED


async def place_order(request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
    del context
    return orders_pb2.PlaceOrderResponse(order=orders_pb2.Order(order_id=request.order_id))


async def place_orders(
    requests: AsyncIterator[orders_pb2.PlaceOrdersRequest], context: Any
) -> AsyncIterator[orders_pb2.PlaceOrdersResponse]:
    del context
    async for request in requests:
        results = [orders_pb2.OrderResult(order_id=order.order_id, outcome=_ACCEPTED) for order in request.orders]
        yield orders_pb2.PlaceOrdersResponse(batch_id=request.batch_id, results=results, done=True)


if __name__ == "__main__":
    methods = {
        "PlaceOrder": server.unary(place_order, orders_pb2.PlaceOrderRequest),
        "PlaceOrders": server.stream(place_orders, orders_pb2.PlaceOrdersRequest.FromString),
    }
    process.run(load(CommonSettings, {}), "noop", lambda stop: answer(sys.argv[1], methods, {}, stop))
