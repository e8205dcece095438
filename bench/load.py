"""The load generator, a process of its own: closed loops of unary calls, or batches on one stream.

See `UnaryLoad`, `StreamLoad` and `BurstLoad` for what the settings may say.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop

from bench.figures import percentile
from bench.orders import OrderSource
from bench.workers import read_settings, say_ready, say_result
from commands.process import GC_THRESHOLDS
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc.channel import open_channel
from sluice.rpc.failure import reason_of

CALL_TIMEOUT_S = 30.0
"""An answer that takes longer is counted as what it is, a failure, and the run goes on."""

STREAM_TIMEOUT_S = 1_800.0
"""Longer than any run; a stream that hangs must not hang the measurement for ever."""

UNARY_CHANNELS = 8

ACCEPTED = "ACCEPTED"


@dataclass(frozen=True)
class UnaryLoad:
    """`in_flight` callers over UNARY_CHANNELS connections; each sends its next order when the last one is answered."""

    endpoint: str
    skus: list[str]
    in_flight: int
    warm_s: float
    seconds: float


@dataclass(frozen=True)
class StreamLoad:
    """`messages` of `batch` orders each on one stream, `in_flight` of them unanswered at any time."""

    endpoint: str
    skus: list[str]
    batch: int
    in_flight: int
    warm_messages: int
    warm_in_flight: int
    messages: int


@dataclass(frozen=True)
class BurstLoad:
    """For as long as `seconds`: every `interval_s`, `messages` on one stream as fast as they are answered.

    Buffers grow as large as under full load, while a long run stays small enough to be audited.
    """

    endpoint: str
    skus: list[str]
    batch: int
    in_flight: int
    messages: int
    interval_s: float
    seconds: float


class Tally:
    """What the callers were told. `latencies_s` are those of accepted calls, or of whole batches on a stream."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self.latencies_s: list[float] = []

    def as_result(self, elapsed_s: float) -> dict[str, Any]:
        latencies = sorted(self.latencies_s)
        refused = {reason: count for reason, count in self.told.items() if reason != ACCEPTED}
        return {
            "accepted": self.told[ACCEPTED],
            "refused": refused,
            "elapsed_s": elapsed_s,
            "orders_per_s": self.told[ACCEPTED] / elapsed_s,
            "latency_ms": {
                name: 1000 * percentile(latencies, share) if latencies else None
                for name, share in (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
            },
        }


async def drive_unary(load: UnaryLoad) -> None:
    source = OrderSource(load.skus)
    channels = [open_channel(load.endpoint) for _ in range(UNARY_CHANNELS)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    calls: list[Any] = [
        channel.unary_unary(
            "/sluice.orders.v1.OrderService/PlaceOrder",
            response_deserializer=orders_pb2.PlaceOrderResponse.FromString,
        )
        for channel in channels
    ]

    async def caller(call: Any, end: float, tally: Tally) -> None:
        while (started := time.perf_counter()) < end:
            try:
                response = await call(source.request(), timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                tally.told[reason_of(error) or error.code().name] += 1
            else:
                tally.told["REPLAYED" if response.replayed else ACCEPTED] += 1
                tally.latencies_s.append(time.perf_counter() - started)

    async def drive(seconds: float) -> dict[str, Any]:
        tally = Tally()
        started = time.perf_counter()
        end = started + seconds
        await asyncio.gather(*(caller(calls[n % len(calls)], end, tally) for n in range(load.in_flight)))
        return tally.as_result(time.perf_counter() - started)

    warm = await drive(load.warm_s)
    say_ready()
    say_result(await drive(load.seconds) | {"warm_refused": warm["refused"]})
    await asyncio.gather(*(channel.close() for channel in channels))


async def drive_stream(load: StreamLoad) -> None:
    source = OrderSource(load.skus)
    warm = [source.batch_request(n, load.batch) for n in range(load.warm_messages)]
    requests = [source.batch_request(n, load.batch) for n in range(load.messages)]
    async with open_channel(load.endpoint) as channel:
        await channel.channel_ready()
        tally = Tally()
        await send_batches(channel, iter(warm), load.warm_in_flight, tally)
        warm_refused = dict(tally.told)
        warm_refused.pop(ACCEPTED, None)
        say_ready()
        tally = Tally()
        started = time.perf_counter()
        await send_batches(channel, iter(requests), load.in_flight, tally)
        say_result(tally.as_result(time.perf_counter() - started) | {"warm_refused": warm_refused})


async def drive_bursts(load: BurstLoad) -> None:
    source = OrderSource(load.skus)
    async with open_channel(load.endpoint) as channel:
        await channel.channel_ready()
        say_ready()
        tally = Tally()
        started = time.perf_counter()
        due = started
        while due < started + load.seconds:
            requests = [source.batch_request(n, load.batch) for n in range(load.messages)]
            await asyncio.sleep(due - time.perf_counter())
            await send_batches(channel, iter(requests), load.in_flight, tally)
            due = max(due + load.interval_s, time.perf_counter())
        say_result(tally.as_result(time.perf_counter() - started))


async def send_batches(channel: grpc.aio.Channel, requests: Iterator[bytes], in_flight: int, tally: Tally) -> None:
    """Sends them on one stream and counts the answers; a batch is over when the server says that it is done."""
    places = asyncio.Semaphore(in_flight)
    sent_at: dict[int, float] = {}

    async def sending() -> AsyncIterator[bytes]:
        for batch_id, request in enumerate(requests):
            await places.acquire()
            sent_at[batch_id] = time.perf_counter()
            yield request

    place: Any = channel.stream_stream(
        "/sluice.orders.v1.OrderService/PlaceOrders",
        response_deserializer=orders_pb2.PlaceOrdersResponse.FromString,
    )
    accepted = orders_pb2.OUTCOME_ACCEPTED
    async for answer in place(sending(), timeout=STREAM_TIMEOUT_S):
        good = 0
        for result in answer.results:
            if result.outcome == accepted and not result.replayed:
                good += 1
            else:
                tally.told[result.reason or "REPLAYED"] += 1
        tally.told[ACCEPTED] += good
        if answer.done:
            tally.latencies_s.append(time.perf_counter() - sent_at.pop(answer.batch_id))
            places.release()
    tally.told.update({"NO_ANSWER_TO_A_BATCH": len(sent_at)} if sent_at else {})


DRIVERS: dict[str, tuple[Any, Any]] = {
    "unary": (UnaryLoad, drive_unary),
    "stream": (StreamLoad, drive_stream),
    "bursts": (BurstLoad, drive_bursts),
}


def main() -> None:
    settings = read_settings()
    kind, drive = DRIVERS[settings.pop("kind")]
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(drive(kind(**settings)))


if __name__ == "__main__":
    main()
