"""A refused call leaves no more behind than an accepted one: a burst of refusals must not fill memory."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2

from sluice.rpc import server as rpc_server
from sluice.rpc.failure import RpcFailure
from sluice.rpc.taking_calls import Server, Surplus

SERVICE = "some.Service"
CALLS = 100

_SOLD_OUT = RpcFailure(grpc.StatusCode.FAILED_PRECONDITION, "OUT_OF_STOCK", "there are none left")


async def _accept(request: Any, context: Any) -> empty_pb2.Empty:
    del request, context
    await asyncio.sleep(0)
    return empty_pb2.Empty()


async def _refuse(request: Any, context: Any) -> empty_pb2.Empty:
    del request, context
    await asyncio.sleep(0)
    raise RpcFailure(_SOLD_OUT.code, _SOLD_OUT.reason, _SOLD_OUT.message)


async def _watch(request: Any, context: Any) -> AsyncIterator[empty_pb2.Empty]:
    del request, context
    yield empty_pb2.Empty()


async def _refuse_to_watch(request: Any, context: Any) -> AsyncIterator[empty_pb2.Empty]:
    del request, context
    yield empty_pb2.Empty()
    raise RpcFailure(_SOLD_OUT.code, _SOLD_OUT.reason, _SOLD_OUT.message)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = rpc_server.new_server()
    yield server
    await server.stop(None)


@pytest.fixture
async def port(server: Server) -> int:
    methods = {
        "Accept": rpc_server.unary(_accept, empty_pb2.Empty),
        "Refuse": rpc_server.unary(_refuse, empty_pb2.Empty),
        "Watch": rpc_server.server_stream(_watch, empty_pb2.Empty),  # type: ignore[arg-type]  # a generator
        "RefuseToWatch": rpc_server.server_stream(_refuse_to_watch, empty_pb2.Empty),  # type: ignore[arg-type]
    }
    server.add_generic_rpc_handlers((rpc_server.service(SERVICE, methods),))
    return await rpc_server.start(server, "127.0.0.1:0")


# In a process of its own: errors leave objects behind in the client, too.
CLIENT = """
import sys, grpc
port, method, kind, count = sys.argv[1:]
told = set()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    call = getattr(channel, kind)(method)
    for _ in range(int(count)):
        try:
            answer = call(b"", timeout=5.0)
            list(answer) if kind == "unary_stream" else answer
        except grpc.RpcError as error:
            told.add(error.code().name)
        else:
            told.add("OK")
print(*told)
"""


async def _call(port: int, method: str, kind: str) -> str:
    """How the calls ended."""
    arguments = (str(port), f"/{SERVICE}/{method}", kind, str(CALLS))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, *arguments, stdout=subprocess.PIPE)
    told, _ = await process.communicate()
    return told.decode().strip()


async def _left_behind(port: int, method: str, expected: str, kind: str = "unary_unary") -> float:
    """Objects for each call that nobody can reach and only the garbage collection finds."""
    await _call(port, method, kind)
    gc.collect()
    gc.disable()
    try:
        assert await _call(port, method, kind) == expected
        return gc.collect() / CALLS
    finally:
        gc.enable()


async def test_a_single_call_that_is_refused_leaves_what_any_call_leaves(port: int) -> None:
    of_any_call = await _left_behind(port, "Accept", "OK")
    assert await _left_behind(port, "Refuse", "FAILED_PRECONDITION") < of_any_call + 1


async def test_a_stream_that_is_refused_leaves_what_any_stream_leaves(port: int) -> None:
    of_any_call = await _left_behind(port, "Watch", "OK", "unary_stream")
    assert await _left_behind(port, "RefuseToWatch", "FAILED_PRECONDITION", "unary_stream") < of_any_call + 1


async def test_a_call_for_which_there_is_no_room_leaves_what_any_call_leaves(server: Server, port: int) -> None:
    of_any_call = await _left_behind(port, "Accept", "OK")
    server.refuse(Surplus(f"/{SERVICE}/Refuse", _SOLD_OUT, lambda: 0, lambda: None))
    assert await _left_behind(port, "Refuse", "FAILED_PRECONDITION") < of_any_call + 1
