"""Messages of many orders on one stream, some of them unanswered at any time; encoded before the clock starts."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from bench.loads.tally import ACCEPTED, REPLAYED, Tally
from bench.orders import OrderSource
from bench.workers import say_ready, say_result
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc.channel import open_channel

STREAM_TIMEOUT_S = 1_800.0
"""Longer than any run; a stream that hangs must not hang the measurement for ever."""

NO_ANSWER = "NO_ANSWER_TO_A_BATCH"


@dataclass(frozen=True)
class Load:
    """`messages` of `batch` orders each, `in_flight` of them unanswered at any time."""

    endpoint: str
    skus: list[str]
    batch: int
    in_flight: int
    warm_messages: int
    warm_in_flight: int
    messages: int


async def drive(load: Load) -> None:
    source = OrderSource(load.skus)
    warm = [source.batch_request(n, load.batch) for n in range(load.warm_messages)]
    requests = [source.batch_request(n, load.batch) for n in range(load.messages)]
    async with open_channel(load.endpoint) as channel:
        await channel.channel_ready()
        warmed = Tally()
        await send_messages(channel, iter(warm), load.warm_in_flight, warmed)
        say_ready()
        tally = Tally()
        started = time.perf_counter()
        await send_messages(channel, iter(requests), load.in_flight, tally)
        say_result(tally.as_result(time.perf_counter() - started) | {"warm_refused": warmed.refusals()})


async def send_messages(channel: grpc.aio.Channel, requests: Iterator[bytes], in_flight: int, tally: Tally) -> None:
    """Sends them on one stream and counts the answers; a message is over when the server says that it is done."""
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
                tally.told[result.reason or REPLAYED] += 1
        tally.told[ACCEPTED] += good
        if answer.done:
            tally.accepted.add_s(time.perf_counter() - sent_at.pop(answer.batch_id))
            places.release()
    tally.told.update({NO_ANSWER: len(sent_at)} if sent_at else {})
