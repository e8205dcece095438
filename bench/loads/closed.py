"""Closed loop of single calls: each caller sends its next order when the last one is answered."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from bench.loads.calling import close_channels, open_channels, place_order, told
from bench.loads.tally import ACCEPTED, Tally
from bench.orders import OrderSource
from bench.workers import say_ready, say_result


@dataclass(frozen=True)
class Load:
    """`in_flight` callers over several connections."""

    endpoint: str
    skus: list[str]
    in_flight: int
    warm_s: float
    seconds: float


async def drive(load: Load) -> None:
    source = OrderSource(load.skus)
    channels = await open_channels(load.endpoint)
    calls = [place_order(channel) for channel in channels]

    async def caller(call: Any, end: float, tally: Tally) -> None:
        while (started := time.perf_counter()) < end:
            heard = await told(call, source.request())
            tally.told[heard] += 1
            latencies = tally.accepted if heard == ACCEPTED else tally.refused
            latencies.add_s(time.perf_counter() - started)

    async def drive_for(seconds: float) -> tuple[Tally, float]:
        tally = Tally()
        started = time.perf_counter()
        end = started + seconds
        await asyncio.gather(*(caller(calls[n % len(calls)], end, tally) for n in range(load.in_flight)))
        return tally, time.perf_counter() - started

    warm, _ = await drive_for(load.warm_s)
    say_ready()
    tally, elapsed_s = await drive_for(load.seconds)
    say_result(tally.as_result(elapsed_s) | {"warm_refused": warm.refusals()})
    await close_channels(channels)
