"""For a long time: every so often some full messages on one stream, as fast as they are answered.

Buffers grow as large as under full load, while a long run stays small enough to be audited.
"""

import asyncio
import time
from dataclasses import dataclass

from bench.loads.stream import send_messages
from bench.loads.tally import Tally
from bench.orders import OrderSource
from bench.workers import say_ready, say_result
from sluice.rpc.channel import open_channel


@dataclass(frozen=True)
class Load:
    """For as long as `seconds`: every `interval_s`, `messages` of `batch` orders."""

    endpoint: str
    skus: list[str]
    batch: int
    in_flight: int
    messages: int
    interval_s: float
    seconds: float


async def drive(load: Load) -> None:
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
            await send_messages(channel, iter(requests), load.in_flight, tally)
            due = max(due + load.interval_s, time.perf_counter())
        say_result(tally.as_result(time.perf_counter() - started))
