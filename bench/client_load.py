"""Two loads of one-unit orders for one SKU, each in a process of its own.

`coroutines`: as an application makes it, so many callers over one `sluice.client.Client`, each placing one order after
the other. Python's garbage collector stays as it comes: a library cannot ask for another setting. `batches`: messages
that are made by hand on one stream, encoded before the clock starts, so many of them unanswered at any time.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvloop

from bench.figures import percentile
from bench.orders import CUSTOMERS, OrderSource
from bench.workers import read_settings, say_ready, say_result
from sluice._gen.orders.v1 import orders_pb2
from sluice.client import Client, SluiceError
from sluice.rpc.channel import open_channel

TIMEOUT_S = 60.0

ACCEPTED = "ACCEPTED"


class Told:
    """What the callers were told, and when: after how long each order, or each whole message."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.after_s: list[float] = []

    def as_result(self, elapsed_s: float) -> dict[str, Any]:
        after_s = sorted(self.after_s)
        return {
            "accepted": self.counts[ACCEPTED],
            "refused": {reason: count for reason, count in self.counts.items() if reason != ACCEPTED},
            "orders_per_s": self.counts[ACCEPTED] / elapsed_s,
            "p50_ms": 1000 * percentile(after_s, 0.50),
            "p99_ms": 1000 * percentile(after_s, 0.99),
        }


async def coroutines(endpoint: str, sku: str, callers: int, warm_orders: int, orders: int) -> None:
    """`orders` of each caller."""
    async with Client(endpoint, timeout_s=TIMEOUT_S) as client:

        async def caller(number: int, left: int, told: Told) -> None:
            customer = f"customer-{number % CUSTOMERS:04}"
            for _ in range(left):
                started = time.perf_counter()
                try:
                    placed = await client.place(sku, 1, customer=customer)
                except SluiceError as error:
                    told.counts[type(error).__name__] += 1
                else:
                    told.counts["REPLAYED" if placed.replayed else ACCEPTED] += 1
                    told.after_s.append(time.perf_counter() - started)

        async def all_callers(left: int, told: Told) -> None:
            await asyncio.gather(*(caller(number, left, told) for number in range(callers)))

        await all_callers(warm_orders, Told())
        say_ready()
        told = Told()
        started = time.perf_counter()
        await all_callers(orders, told)
        say_result(told.as_result(time.perf_counter() - started))


async def batches(endpoint: str, sku: str, size: int, in_flight: int, warm_messages: int, messages: int) -> None:
    source = OrderSource([sku])
    warm = [source.batch_request(number, size) for number in range(warm_messages)]
    requests = [source.batch_request(number, size) for number in range(messages)]
    async with open_channel(endpoint) as channel:
        await channel.channel_ready()
        await _send(channel, warm, in_flight, Told())
        say_ready()
        told = Told()
        started = time.perf_counter()
        await _send(channel, requests, in_flight, told)
        say_result(told.as_result(time.perf_counter() - started))


async def _send(channel: Any, requests: Sequence[bytes], in_flight: int, told: Told) -> None:
    places = asyncio.Semaphore(in_flight)
    sent_at: dict[int, float] = {}

    async def sending() -> AsyncIterator[bytes]:
        for number, request in enumerate(requests):
            await places.acquire()
            sent_at[number] = time.perf_counter()
            yield request

    place = channel.stream_stream(
        "/sluice.orders.v1.OrderService/PlaceOrders",
        response_deserializer=orders_pb2.PlaceOrdersResponse.FromString,
    )
    accepted = orders_pb2.OUTCOME_ACCEPTED
    async for answer in place(sending(), timeout=TIMEOUT_S):
        for result in answer.results:
            told.counts[ACCEPTED if result.outcome == accepted else result.reason] += 1
        if answer.done:
            told.after_s.append(time.perf_counter() - sent_at[answer.batch_id])
            places.release()


def main() -> None:
    settings = read_settings()
    drive: Any = {"coroutines": coroutines, "batches": batches}[settings.pop("load")]
    run: Any = {"uvloop": uvloop.run, "asyncio": asyncio.run}[settings.pop("event_loop")]
    run(drive(**settings))


if __name__ == "__main__":
    main()
