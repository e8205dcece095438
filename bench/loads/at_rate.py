"""Open loop: orders are sent at a fixed rate, whether earlier ones are answered or not.

A latency counts from the moment at which the order was due. So an order that could not be sent in time, because the
server or this process was busy, is not let off its wait (no coordinated omission). How late orders were sent is said
too: where that is much, the figure is one of this process.
"""

import asyncio
import time
from dataclasses import dataclass

from bench.latencies import Latencies
from bench.loads.calling import close_channels, open_channels, place_order, told
from bench.loads.tally import ACCEPTED, Tally
from bench.orders import OrderSource
from bench.workers import say_ready, say_result


@dataclass(frozen=True)
class Load:
    """`rate` orders a second for `warm_s` and then for `seconds`."""

    endpoint: str
    skus: list[str]
    rate: float
    warm_s: float
    seconds: float


class _Window:
    """One stretch of time, and what became of the orders that were due in it."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.lateness = Latencies()
        self.in_time = 0
        """Accepted orders that were answered before the end of the window: what was served while it was offered."""
        self.sent = 0


async def drive(load: Load) -> None:
    source = OrderSource(load.skus)
    channels = await open_channels(load.endpoint)
    calls = [place_order(channel) for channel in channels]
    clock = time.perf_counter

    async def order(window: _Window, number: int, due: float, end: float) -> None:
        window.lateness.add_s(clock() - due)
        heard = await told(calls[number % len(calls)], source.request())
        answered = clock()
        window.tally.told[heard] += 1
        if heard == ACCEPTED:
            window.tally.accepted.add_s(answered - due)
            window.in_time += answered <= end
        else:
            window.tally.refused.add_s(answered - due)

    async def offer_for(seconds: float) -> _Window:
        window = _Window()
        waiting: set[asyncio.Task[None]] = set()
        started = clock()
        end = started + seconds
        total = int(load.rate * seconds)
        while window.sent < total:
            due = started + window.sent / load.rate
            if (pause := due - clock()) > 0:
                await asyncio.sleep(pause)
            elif window.sent % len(calls) == 0:
                # What is overdue goes out in small lots: else answers would not be read in between.
                await asyncio.sleep(0)
            task = asyncio.create_task(order(window, window.sent, due, end))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            window.sent += 1
        await asyncio.gather(*waiting)
        return window

    warm = await offer_for(load.warm_s)
    say_ready()
    started = clock()
    window = await offer_for(load.seconds)
    result = window.tally.as_result(clock() - started)
    say_result(
        result
        | {
            "offered": window.sent,
            "in_time": window.in_time,
            "seconds": load.seconds,
            "refused_latency_ms": window.tally.refused.in_ms(),
            "refused_latencies": window.tally.refused.encoded(),
            "late_ms": window.lateness.in_ms(),
            "lateness": window.lateness.encoded(),
            "warm_refused": warm.tally.refusals(),
        }
    )
    await close_channels(channels)
