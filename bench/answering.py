"""A server built as ours around other handlers: same options, wrappers, event loop, garbage collector."""

import asyncio
from collections.abc import Mapping

from gateway.order_service import SERVICE_NAME
from sluice.rpc import server
from sluice.rpc.server import Handler

STOCK_SERVICE_NAME = "sluice.stock.v1.StockService"

_DRAIN_LIMIT_S = 1.0


async def answer(listen: str, orders: Mapping[str, Handler], stock: Mapping[str, Handler], stop: asyncio.Event) -> None:
    """Methods of `OrderService` and `StockService`, until `stop`."""
    grpc_server = server.new_server()
    grpc_server.add_generic_rpc_handlers(
        (server.service(SERVICE_NAME, dict(orders)), server.service(STOCK_SERVICE_NAME, dict(stock)))
    )
    await server.start(grpc_server, listen)
    await stop.wait()
    await grpc_server.stop(_DRAIN_LIMIT_S)
