"""A steady load of orders that goes on whatever happens, and what its buyers were told when."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import grpc

from tests.integration.buying import Client, Reply, ask, order, told

ORDERS_PER_S = 200


class Sent(NamedTuple):
    at: float
    reply: Reply


class Load:
    def __init__(self, clients: Sequence[Client], skus: Sequence[str], orders_per_s: float) -> None:
        self._clients = clients
        self._orders_per_s = orders_per_s
        self._skus = skus
        self._calls: set[asyncio.Task[None]] = set()
        self.sent: list[Sent] = []

    async def send_until_cancelled(self) -> None:
        """By the clock, not by the answers: buyers do not wait for each other."""
        started = time.monotonic()
        number = 0
        while True:
            while number < (time.monotonic() - started) * self._orders_per_s:
                self._calls.add(asyncio.ensure_future(self._send(number)))
                number += 1
            await asyncio.sleep(1 / self._orders_per_s)

    async def answered(self) -> None:
        await asyncio.gather(*self._calls)

    def since(self, begin: float, end: float = float("inf")) -> list[Reply]:
        """Replies to orders sent in that time."""
        return [sent.reply for sent in self.sent if begin <= sent.at < end]

    async def _send(self, number: int) -> None:
        at = time.monotonic()
        client = self._clients[number % len(self._clients)]
        reply = await ask(client.place_order, order({self._skus[number % len(self._skus)]: 1}))
        self.sent.append(Sent(at, reply))


@asynccontextmanager
async def steady_load(
    clients: Sequence[Client], skus: Sequence[str], orders_per_s: float = ORDERS_PER_S
) -> AsyncIterator[Load]:
    """So many orders per second inside the block; after it every order is answered."""
    load = Load(clients, skus, orders_per_s)
    sending = asyncio.ensure_future(load.send_until_cancelled())
    try:
        yield load
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await load.answered()


def check_told_to_come_back(replies: Sequence[Reply], reason: str, within_s: float) -> None:
    """Everyone who was not served heard why, when to come back in both ways, and in time."""
    assert replies
    assert told(replies) == {reason: len(replies)}
    for reply in replies:
        assert reply.code == grpc.StatusCode.UNAVAILABLE
        assert reply.retry_delay_s
        assert reply.pushback_ms == str(int(reply.retry_delay_s * 1000))
    slowest = sorted((round(reply.latency_s, 2) for reply in replies), reverse=True)[:8]
    assert slowest[0] < within_s, f"the slowest of {len(replies)} answers, in seconds: {slowest}"
