"""Events of gRPC that have come together cost the event loop one turn, and none is missed."""

import asyncio
import socket
from collections.abc import Iterator

import grpc
import pytest

from sluice.rpc import event_loop, server
from sluice.rpc.event_loop import EventLoop

CALLS = 50
TIMEOUT_S = 10.0


class PollerCompletionQueue:
    """Reads a byte each time that it is called, as gRPC's does."""

    def __init__(self, reading: socket.socket) -> None:
        self._reading = reading
        self.calls = 0

    def handle_events(self, bound_to: object) -> None:
        del bound_to
        self._reading.recv(1)
        self.calls += 1


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        yield reading, writing


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


async def _some_turns() -> None:
    for _ in range(CALLS):
        await asyncio.sleep(0)


def test_what_came_together_is_read_in_one_turn(loop: EventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    reading, writing = pair
    queue = PollerCompletionQueue(reading)
    loop.add_reader(reading, queue.handle_events, loop)
    for told in (1, 2):
        writing.send(b"1" * CALLS)
        loop.run_until_complete(_some_turns())
        assert queue.calls == told
    loop.remove_reader(reading)


def test_other_readers_are_left_alone(loop: EventLoop, pair: tuple[socket.socket, socket.socket]) -> None:
    reading, writing = pair
    read: list[bytes] = []
    loop.add_reader(reading, lambda: read.append(reading.recv(1)))
    writing.send(b"12345")
    loop.run_until_complete(_some_turns())
    assert read == [b"1", b"2", b"3", b"4", b"5"]
    loop.remove_reader(reading)


def test_grpc_is_heard_in_this_way(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails when gRPC no longer hands over what is looked for here."""
    turns = 0
    read_together = event_loop._read_together

    def counted(from_grpc: socket.socket, *rest: object) -> None:
        nonlocal turns
        turns += 1
        read_together(from_grpc, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(event_loop, "_read_together", counted)

    async def call_often() -> None:
        made = server.new_server()
        port = await server.start(made, "127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            calls = [channel.unary_unary("/no/Such")(b"", timeout=TIMEOUT_S) for _ in range(CALLS)]
            codes = {await call.code() for call in calls}
        await made.stop(None)
        assert codes == {grpc.StatusCode.UNIMPLEMENTED}

    loop.run_until_complete(call_often())
    assert turns > 0
