"""Calls that wait are taken up together; and those that a server was given before it stopped are served."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from sluice.rpc import server as rpc_server
from sluice.rpc.taking_calls import ASKED_FOR, TAKEN_AT_ONCE

METHOD = "/some.Service/Method"
BLOCKED_S = 0.4
CALLERS = 8
CALLS_BEFORE_STOP = 300
TIMEOUT_S = 10.0


class Answering(grpc.GenericRpcHandler):
    """Answers every call with nothing, and knows in which turn of the event loop it was taken up."""

    def __init__(self) -> None:
        self.turn = 0
        self.taken_up_in: list[int] = []
        self.enough = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        del handler_call_details
        self.taken_up_in.append(self.turn)
        if len(self.taken_up_in) >= CALLS_BEFORE_STOP:
            self.enough.set()
        return grpc.unary_unary_rpc_method_handler(_nothing)

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


async def _nothing(request: bytes, context: Any) -> bytes:
    del request, context
    return b""


@pytest.fixture
async def answering() -> AsyncIterator[tuple[grpc.aio.Server, Answering, int]]:
    server = rpc_server.new_server()
    handler = Answering()
    server.add_generic_rpc_handlers((handler,))
    port = await rpc_server.start(server, "127.0.0.1:0")
    yield server, handler, port
    await server.stop(None)


def _call_at_once(port: int, count: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(METHOD)
        for call in [method.future(b"", timeout=TIMEOUT_S) for _ in range(count)]:
            call.result()


def _call_until_refused(port: int) -> list[grpc.StatusCode]:
    """One call after the other; how each ended."""
    ends = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(METHOD)
        while not ends or ends[-1] is grpc.StatusCode.OK:
            try:
                method(b"", timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                ends.append(error.code())
            else:
                ends.append(grpc.StatusCode.OK)
    return ends


async def _turns_of_calls_that_waited(handler: Answering, port: int, count: int) -> list[int]:
    """In which turn each was taken up."""
    await asyncio.to_thread(_call_at_once, port, 1)
    calling = asyncio.create_task(asyncio.to_thread(_call_at_once, port, count))
    await asyncio.sleep(0)
    time.sleep(BLOCKED_S)  # noqa: ASYNC251 - an event loop that is busy is what this is about
    counting = asyncio.create_task(handler.count_turns())
    await calling
    counting.cancel()
    return handler.taken_up_in[1:]


async def test_calls_that_waited_are_taken_up_in_one_turn(
    answering: tuple[grpc.aio.Server, Answering, int],
) -> None:
    _, handler, port = answering
    turns = await _turns_of_calls_that_waited(handler, port, TAKEN_AT_ONCE)
    assert len(turns) == TAKEN_AT_ONCE
    assert max(turns) - min(turns) <= 2


async def test_of_more_that_waited_no_turn_takes_up_all(answering: tuple[grpc.aio.Server, Answering, int]) -> None:
    _, handler, port = answering
    turns = await _turns_of_calls_that_waited(handler, port, 10 * TAKEN_AT_ONCE)
    assert max(Counter(turns).values()) <= 2 * TAKEN_AT_ONCE  # two turns may count as one


async def test_more_calls_than_are_asked_for_at_once_are_all_served(
    answering: tuple[grpc.aio.Server, Answering, int],
) -> None:
    _, handler, port = answering
    await asyncio.to_thread(_call_at_once, port, ASKED_FOR + 100)
    assert len(handler.taken_up_in) == ASKED_FOR + 100


async def test_what_was_taken_up_before_a_stop_is_served(answering: tuple[grpc.aio.Server, Answering, int]) -> None:
    server, handler, port = answering
    calling = [asyncio.create_task(asyncio.to_thread(_call_until_refused, port)) for _ in range(CALLERS)]
    await handler.enough.wait()
    time.sleep(BLOCKED_S)  # noqa: ASYNC251 - so that gRPC has a call of each of them when the server stops
    await server.stop(TIMEOUT_S)
    ends = [end for each in await asyncio.gather(*calling) for end in each]
    assert ends.count(grpc.StatusCode.OK) == len(handler.taken_up_in)
    assert {end for end in ends if end is not grpc.StatusCode.OK} == {grpc.StatusCode.UNAVAILABLE}
