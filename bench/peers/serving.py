"""`python -m bench.peers.serving NAME LISTEN ADDRESS`: one peer behind a gRPC server built as ours is.

It answers `PlaceOrder` (one line) and `CreateSku`, which puts stock in.
"""

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from bench.answering import answer
from bench.peers.known import PEERS
from bench.peers.protocol import Peer
from commands import process
from commands.options import load
from gateway.messages import refusal_failure
from gateway.outcomes import Reason, Refused
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.errors import StoreUnreachable
from sluice.rpc import server
from sluice.settings import CommonSettings


async def open_known(name: str, address: str) -> Peer:
    module, _, function = PEERS[name].opened_by.partition(":")
    opened: Callable[[str], Awaitable[Peer]] = getattr(importlib.import_module(module), function)
    return await opened(address)


async def serve(name: str, listen: str, address: str, stop: asyncio.Event) -> None:
    peer = await open_known(name, address)

    async def place_order(request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
        del context
        (line,) = request.lines
        try:
            granted = await peer.reserve(UUID(request.order_id), line.sku, line.quantity)
        except StoreUnreachable as error:
            raise refusal_failure(Refused(Reason.STOCK_UNREACHABLE, str(error))) from error
        if not granted:
            raise refusal_failure(Refused(Reason.OUT_OF_STOCK, line.sku))
        return orders_pb2.PlaceOrderResponse(order=orders_pb2.Order(order_id=request.order_id))

    async def create_sku(request: stock_pb2.CreateSkuRequest, context: Any) -> stock_pb2.CreateSkuResponse:
        del context
        await peer.add_stock(request.sku, request.units)
        return stock_pb2.CreateSkuResponse()

    orders = {"PlaceOrder": server.unary(place_order, orders_pb2.PlaceOrderRequest)}
    stock = {"CreateSku": server.unary(create_sku, stock_pb2.CreateSkuRequest)}
    await answer(listen, orders, stock, stop)
    await peer.close()


if __name__ == "__main__":
    peer_name, listens_on, server_address = sys.argv[1:]
    process.run(load(CommonSettings, {}), peer_name, lambda stop: serve(peer_name, listens_on, server_address, stop))
