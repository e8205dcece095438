"""A server built as ours around any `PlaceOrder`: same options, unary wrapper, event loop, garbage collector."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.order_service import SERVICE_NAME
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc import server

_DRAIN_LIMIT_S = 1.0

PlaceOrder = Callable[[orders_pb2.PlaceOrderRequest, Any], Awaitable[orders_pb2.PlaceOrderResponse]]


async def answer(listen: str, place_order: PlaceOrder, stop: asyncio.Event) -> None:
    """Until `stop`."""
    grpc_server = server.new_server()
    methods = {"PlaceOrder": server.unary(place_order, orders_pb2.PlaceOrderRequest)}
    grpc_server.add_generic_rpc_handlers((server.service(SERVICE_NAME, methods),))
    await server.start(grpc_server, listen)
    await stop.wait()
    await grpc_server.stop(_DRAIN_LIMIT_S)
