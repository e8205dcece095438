"""The server around a peer: `PlaceOrder` on a loopback address, decided by one function."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from bench.answering import answer
from commands import process
from commands.options import load
from gateway.messages import refusal_failure
from gateway.outcomes import Reason, Refused
from sluice._gen.orders.v1 import orders_pb2
from sluice.errors import StoreUnreachable
from sluice.settings import CommonSettings
from stockd.stores.cassandra_session import CassandraSession, connect

KEYSPACE = "bench_peers"
LOCAL_DC = "datacenter1"
REQUEST_TIMEOUT_S = 5.0
"""As long as a caller may wait: a slow answer is counted as slow, not as lost."""

Reserve = Callable[[str, int], Awaitable[bool]]
"""Takes units of a SKU; whether they were to be had. Raises StoreUnreachable."""


def serve(name: str, open_peer: Callable[[CassandraSession], Awaitable[Reserve]]) -> None:
    """Runs the server; argv: the address to listen on, Cassandra's contact points."""
    listen, contact_points = sys.argv[1:]
    process.run(load(CommonSettings, {}), name, lambda stop: _serve(listen, contact_points, open_peer, stop))


async def _serve(
    listen: str,
    contact_points: str,
    open_peer: Callable[[CassandraSession], Awaitable[Reserve]],
    stop: asyncio.Event,
) -> None:
    session = await connect(contact_points, LOCAL_DC, REQUEST_TIMEOUT_S)
    reserve = await open_peer(session)

    async def place_order(request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
        del context
        (line,) = request.lines
        try:
            granted = await reserve(line.sku, line.quantity)
        except StoreUnreachable as error:
            raise refusal_failure(Refused(Reason.STOCK_UNREACHABLE, str(error))) from error
        if not granted:
            raise refusal_failure(Refused(Reason.OUT_OF_STOCK, line.sku))
        return orders_pb2.PlaceOrderResponse(order=orders_pb2.Order(order_id=request.order_id))

    await answer(listen, place_order, stop)
    await session.close()


def keyspace_statement() -> str:
    return (
        f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{LOCAL_DC}': 1}}"
    )
