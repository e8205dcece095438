"""A call to another server is freed when it has ended, not when a garbage collection finds it: each keeps 16 KB."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2

from sluice.rpc import server as rpc_server
from sluice.rpc.channel import open_channel
from sluice.rpc.failure import RpcFailure

SERVICE = "some.Service"


async def _accept(request: Any, context: Any) -> empty_pb2.Empty:
    del request, context
    return empty_pb2.Empty()


async def _refuse(request: Any, context: Any) -> empty_pb2.Empty:
    del request, context
    raise RpcFailure(grpc.StatusCode.FAILED_PRECONDITION, "OUT_OF_STOCK", "there are none left")


async def _wait(request: Any, context: Any) -> empty_pb2.Empty:
    del request, context
    await asyncio.Event().wait()
    return empty_pb2.Empty()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = rpc_server.new_server()
    handlers = {"Accept": _accept, "Refuse": _refuse, "Wait": _wait}
    methods = {name: rpc_server.unary(handler, empty_pb2.Empty) for name, handler in handlers.items()}
    server.add_generic_rpc_handlers((rpc_server.service(SERVICE, methods),))
    yield f"127.0.0.1:{await rpc_server.start(server, '127.0.0.1:0')}"
    await server.stop(None)


def _begun(channel: grpc.aio.Channel, method: str, timeout_s: float = 5.0) -> Any:
    begin: Any = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=empty_pb2.Empty.SerializeToString,
        response_deserializer=empty_pb2.Empty.FromString,
    )
    return begin(empty_pb2.Empty(), timeout=timeout_s)


async def _told(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("method", "timeout_s", "told"),
    [
        ("Accept", 5.0, grpc.StatusCode.OK),
        ("Refuse", 5.0, grpc.StatusCode.FAILED_PRECONDITION),
        ("Wait", 0.05, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
async def test_however_it_ended(address: str, method: str, timeout_s: float, told: grpc.StatusCode) -> None:
    gc.disable()
    try:
        async with open_channel(address) as channel:
            call = _begun(channel, method, timeout_s)
            assert await _told(call) == told
            left = weakref.ref(call)
            del call
            assert left() is None
    finally:
        gc.enable()


async def test_a_channel_that_is_closed_ends_the_calls_that_go_on(address: str) -> None:
    channel = open_channel(address)
    call = _begun(channel, "Wait")
    waiting = asyncio.ensure_future(_told(call))
    await channel.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert call.cancelled()
