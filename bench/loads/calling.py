"""`PlaceOrder` as a stub user in Python calls it, over several connections."""

import asyncio
from typing import Any

import grpc

from bench.loads.tally import ACCEPTED, REPLAYED
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc.channel import open_channel
from sluice.rpc.failure import reason_of

CALL_TIMEOUT_S = 30.0
"""An answer that takes longer is counted as what it is, a failure, and the run goes on."""

CHANNELS = 8


async def open_channels(endpoint: str) -> list[grpc.aio.Channel]:
    channels = [open_channel(endpoint) for _ in range(CHANNELS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    return channels


async def close_channels(channels: list[grpc.aio.Channel]) -> None:
    await asyncio.gather(*(channel.close() for channel in channels))


def place_order(channel: grpc.aio.Channel) -> Any:
    """Takes serialized requests."""
    return channel.unary_unary(
        "/sluice.orders.v1.OrderService/PlaceOrder",
        response_deserializer=orders_pb2.PlaceOrderResponse.FromString,
    )


async def told(call: Any, request: bytes) -> str:
    """ACCEPTED, REPLAYED, the reason of a refusal, or the status code of a call without one."""
    try:
        response = await call(request, timeout=CALL_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return reason_of(error) or error.code().name
    return REPLAYED if response.replayed else ACCEPTED
