"""Calls that have arrived and are not taken up are counted, for as long as they wait and no longer."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from sluice.rpc import server as rpc_server
from sluice.rpc.arrivals import LOOK_INTERVAL_S, Arrivals
from sluice.rpc.taking_calls import TAKEN_AT_ONCE

WAITING = 40
LEAVING = 40
PATIENCE_S = 0.1
BLOCKED_S = 0.4


def _call(port: int, count: int, timeout_s: float, pause_s: float) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.unary_unary("/some/Method")
        calls = []
        for _ in range(count):
            calls.append(method.future(b"", timeout=timeout_s))
            time.sleep(pause_s)
        for call in calls:
            call.exception()


class Watched:
    """A server, and what is told of it: `looks` are (taken up, waiting)."""

    def __init__(self) -> None:
        self.looks: list[tuple[int, int]] = []
        self.server = rpc_server.new_server()
        self.port = 0
        Arrivals(self.server, time.monotonic, lambda _now, begun, waiting: self.looks.append((begun, waiting)))

    async def call_while_busy(self, count: int, timeout_s: float) -> None:
        calling = asyncio.create_task(asyncio.to_thread(_call, self.port, count, timeout_s, 0.0))
        await asyncio.sleep(0)
        time.sleep(BLOCKED_S)  # noqa: ASYNC251 - an event loop that is busy is what this is about
        await calling


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    watched.port = await rpc_server.start(watched.server, "127.0.0.1:0")
    yield watched
    await watched.server.stop(None)


async def test_those_that_wait_are_counted_until_they_are_taken_up(watched: Watched) -> None:
    await asyncio.to_thread(_call, watched.port, 1, 5.0, 0.0)
    await watched.call_while_busy(WAITING, timeout_s=5.0)
    await asyncio.sleep(4 * LOOK_INTERVAL_S)
    assert max(waiting for _, waiting in watched.looks) >= WAITING - 2 * TAKEN_AT_ONCE
    assert all(begun + waiting <= 1 + WAITING for begun, waiting in watched.looks)
    assert watched.looks[-1] == (1 + WAITING, 0)


async def test_nobody_looks_when_no_calls_come(watched: Watched) -> None:
    await asyncio.to_thread(_call, watched.port, 3, 5.0, 0.0)
    await asyncio.sleep(4 * LOOK_INTERVAL_S)
    looked = len(watched.looks)
    await asyncio.sleep(10 * LOOK_INTERVAL_S)
    assert len(watched.looks) == looked


async def test_who_left_while_waiting_is_forgotten_although_calls_go_on(watched: Watched) -> None:
    await asyncio.to_thread(_call, watched.port, 1, 5.0, 0.0)
    await watched.call_while_busy(LEAVING, PATIENCE_S)
    await asyncio.to_thread(_call, watched.port, 10, 5.0, LOOK_INTERVAL_S)
    await asyncio.sleep(4 * LOOK_INTERVAL_S)
    assert max(waiting for _, waiting in watched.looks) > 0
    assert watched.looks[-1][1] == 0
