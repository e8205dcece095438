"""What waits inside gRPC is counted, and callers who left while they waited are not counted for ever."""

import asyncio
import time
from typing import Any

import grpc

from sluice.rpc.arrivals import WINDOW_S, Arrivals

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


async def test_who_left_while_waiting_is_forgotten_although_calls_go_on() -> None:
    pending: list[int] = []
    server = grpc.aio.server()
    Arrivals(server, time.monotonic, lambda _now, _begun, waiting: pending.append(waiting))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        await asyncio.to_thread(_call, port, 1, 5.0, 0.0)
        leaving = asyncio.create_task(asyncio.to_thread(_call, port, LEAVING, PATIENCE_S, 0.0))
        await asyncio.sleep(0)
        time.sleep(BLOCKED_S)  # noqa: ASYNC251 - an event loop that is busy is what this is about
        await leaving
        await asyncio.to_thread(_call, port, 60, 5.0, WINDOW_S / 5)
        assert max(pending) > 0
        assert pending[-1] == 0
    finally:
        await server.stop(None)
