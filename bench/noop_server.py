"""The ceiling: a server built exactly as ours that reads a `PlaceOrderRequest`, does nothing, and answers.

Same server options, same unary wrapper, same event loop and garbage collector settings as every Sluice process.
"""

import asyncio
import sys
from typing import Any

from commands import process
from commands.options import load
from gateway.order_service import SERVICE_NAME
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc import server
from sluice.settings import CommonSettings

_DRAIN_LIMIT_S = 1.0


async def place_order(request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
    del context
    return orders_pb2.PlaceOrderResponse(order=orders_pb2.Order(order_id=request.order_id))


async def _serve(listen: str, stop: asyncio.Event) -> None:
    grpc_server = server.new_server()
    methods = {"PlaceOrder": server.unary(place_order, orders_pb2.PlaceOrderRequest)}
    grpc_server.add_generic_rpc_handlers((server.service(SERVICE_NAME, methods),))
    await server.start(grpc_server, listen)
    await stop.wait()
    await grpc_server.stop(_DRAIN_LIMIT_S)


if __name__ == "__main__":
    process.run(load(CommonSettings, {}), "noop", lambda stop: _serve(sys.argv[1], stop))
