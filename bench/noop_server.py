"""The ceiling: a server that reads a `PlaceOrderRequest`, does nothing, and answers."""

import sys
from typing import Any

from bench.answering import answer
from commands import process
from commands.options import load
from sluice._gen.orders.v1 import orders_pb2
from sluice.settings import CommonSettings


async def place_order(request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
    del context
    return orders_pb2.PlaceOrderResponse(order=orders_pb2.Order(order_id=request.order_id))


if __name__ == "__main__":
    process.run(load(CommonSettings, {}), "noop", lambda stop: answer(sys.argv[1], place_order, stop))
