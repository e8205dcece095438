"""Calls that wait are taken up together; those that find no room are refused, and nobody else; and those that a server
was given before it stopped are served.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from sluice.rpc import server as rpc_server
from sluice.rpc.failure import RpcFailure, reason_of
from sluice.rpc.taking_calls import ASKED_FOR, REFUSED_AT_ONCE, TAKEN_AT_ONCE, Server, Surplus

METHOD = "/some.Service/Method"
OTHER_METHOD = "/some.Service/Other"
ROOM = 50
NO_ROOM = RpcFailure(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", "come again", retry_after_s=0.5)
BLOCKED_S = 0.4
CALLERS = 8
CALLS_BEFORE_STOP = 300
TIMEOUT_S = 10.0


class Answering(grpc.GenericRpcHandler):
    """Answers every call with what it was sent, and knows in which turn of the event loop it was taken up."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.turn = 0
        self.taken_up_in: list[int] = []
        self.enough = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        del handler_call_details
        self.taken_up_in.append(self.turn)
        if len(self.taken_up_in) >= CALLS_BEFORE_STOP:
            self.enough.set()
        return grpc.unary_unary_rpc_method_handler(self._echo)

    async def _echo(self, request: bytes, context: Any) -> bytes:
        del context
        self.answers.append(request)
        return request

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


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


@pytest.fixture
async def crowded(answering: tuple[Server, Answering, int]) -> tuple[Answering, int, list[None]]:
    """A server with room for so many calls of one method, its port, and one entry for each call that it refused."""
    server, handler, port = answering
    refused: list[None] = []
    server.refuse(Surplus(METHOD, NO_ROOM, lambda: ROOM, lambda: refused.append(None)))
    return handler, port, refused


def _ends_of_calls_at_once(port: int, method: str, count: int) -> list[bytes | grpc.RpcError]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(TIMEOUT_S)  # calls that wait for it leave in any order
        callable_: Any = channel.unary_unary(method)
        calls = [callable_.future(b"%d" % number, timeout=TIMEOUT_S) for number in range(count)]
        return [call.exception() or call.result() for call in calls]


async def _while_busy(port: int, method: str, count: int) -> list[bytes | grpc.RpcError]:
    """How calls ended that all arrived before the server could take up one."""
    await asyncio.to_thread(_ends_of_calls_at_once, port, method, 1)
    calling = asyncio.create_task(asyncio.to_thread(_ends_of_calls_at_once, port, method, count))
    await asyncio.sleep(0)
    time.sleep(BLOCKED_S)  # noqa: ASYNC251 - an event loop that is busy is what this is about
    return await calling


async def test_who_came_last_is_refused_and_those_before_are_served_in_their_order(
    crowded: tuple[Answering, int, list[None]],
) -> None:
    handler, port, refused = crowded
    ends = await _while_busy(port, METHOD, 4 * ROOM)
    served = [end for end in ends if isinstance(end, bytes)]
    failures = [end for end in ends if isinstance(end, grpc.RpcError)]
    assert handler.answers[1:] == sorted(handler.answers[1:], key=int)
    # Some may come while others are taken up, and find room.
    assert served[:ROOM] == [b"%d" % number for number in range(ROOM)]
    assert len(failures) == len(refused) > ROOM
    for failure in failures:
        assert failure.code() is grpc.StatusCode.UNAVAILABLE
        assert failure.details() == "come again"
        assert reason_of(failure) == "OVERLOADED"


async def test_while_many_are_refused_those_for_whom_there_is_room_are_served(
    answering: tuple[Server, Answering, int],
) -> None:
    server, handler, port = answering
    served_before: list[int] = []
    server.refuse(Surplus(METHOD, NO_ROOM, lambda: ROOM, lambda: served_before.append(len(handler.taken_up_in))))
    await _while_busy(port, METHOD, 40 * ROOM)
    # Of those that all waited when the first of them was refused.
    assert served_before[2 * ROOM] >= served_before[0] + 2 * ROOM // (2 * REFUSED_AT_ONCE)


async def test_without_any_room_nobody_is_served_who_came_when_nobody_waited(
    answering: tuple[Server, Answering, int],
) -> None:
    server, handler, port = answering
    refused: list[None] = []
    server.refuse(Surplus(METHOD, NO_ROOM, lambda: 0, lambda: refused.append(None)))
    for _ in range(3):
        (end,) = await asyncio.to_thread(_ends_of_calls_at_once, port, METHOD, 1)
        assert isinstance(end, grpc.RpcError)
    assert (len(refused), handler.answers) == (3, [])


async def test_other_methods_are_served_although_there_is_no_room(crowded: tuple[Answering, int, list[None]]) -> None:
    _, port, refused = crowded
    ends = await _while_busy(port, OTHER_METHOD, 4 * ROOM)
    assert ends == [b"%d" % number for number in range(4 * ROOM)]
    assert not refused


def _call_and_leave(port: int, count: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary(METHOD)
        for call in [method.future(b"", timeout=BLOCKED_S / 4) for _ in range(count)]:
            call.exception()


async def test_a_refused_caller_who_has_left_disturbs_nobody(crowded: tuple[Answering, int, list[None]]) -> None:
    _, port, refused = crowded
    await asyncio.to_thread(_ends_of_calls_at_once, port, METHOD, 1)
    calling = asyncio.create_task(asyncio.to_thread(_call_and_leave, port, 4 * ROOM))
    await asyncio.sleep(0)
    time.sleep(BLOCKED_S)  # noqa: ASYNC251 - an event loop that is busy is what this is about
    await calling
    assert await asyncio.to_thread(_ends_of_calls_at_once, port, METHOD, 1) == [b"0"]
    assert len(refused) > ROOM


async def test_a_server_that_stops_while_it_refuses_answers_everybody(
    answering: tuple[Server, Answering, int],
) -> None:
    server, _, port = answering
    refused = asyncio.Event()
    server.refuse(Surplus(METHOD, NO_ROOM, lambda: ROOM, refused.set))
    calling = asyncio.create_task(asyncio.to_thread(_ends_of_calls_at_once, port, METHOD, 40 * ROOM))
    await asyncio.sleep(0)
    time.sleep(BLOCKED_S)  # noqa: ASYNC251 - so that many wait
    await refused.wait()
    await server.stop(TIMEOUT_S)
    ends = await calling
    codes = {end.code() for end in ends if isinstance(end, grpc.RpcError)}
    assert codes == {grpc.StatusCode.UNAVAILABLE}
