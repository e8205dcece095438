"""Open loop: orders are sent at a fixed rate, whether earlier ones are answered or not.

A latency counts from the moment at which the order was due. So an order that could not be sent in time, because the
server or this process was busy, is not let off its wait (no coordinated omission). How late orders were sent is said
too: where that is much, the figure is one of this process.
Orders are sent as frames that were put together beforehand (see `frames`): twice the rate of a server is more than a
stub user in Python can send.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass

from bench.latencies import Latencies
from bench.loads import frames
from bench.loads.calling import CALL_TIMEOUT_S, CHANNELS
from bench.loads.tally import ACCEPTED, Tally
from bench.orders import OrderSource
from bench.workers import say_ready, say_result

TICK_S = 0.001
"""Orders that are due within the same tick leave together."""

MOST_AT_ONCE = 200
"""What is overdue goes out in small lots: else answers would not be read in between."""


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

    def __init__(self, rate: float, seconds: float) -> None:
        started = time.perf_counter()
        self.total = int(rate * seconds)
        self.tally = Tally()
        self.lateness = Latencies()
        self.started = started
        self.end = started + seconds
        self.in_time = 0
        """Accepted orders that were answered before the end of the window: what was served while it was offered."""
        self.sent = 0
        self.told_all = asyncio.Event()

    def heard(self, due: float, told: str) -> None:
        answered = time.perf_counter()
        self.tally.told[told] += 1
        if self.tally.told.total() == self.total:
            self.told_all.set()
        if told == ACCEPTED:
            self.tally.accepted.add_s(answered - due)
            self.in_time += answered <= self.end
        else:
            self.tally.refused.add_s(answered - due)


async def drive(load: Load) -> None:
    source = OrderSource(load.skus)
    clock = time.perf_counter
    callers = await frames.connect(load.endpoint, CHANNELS)

    async def offer_for(seconds: float) -> _Window:
        window = _Window(load.rate, seconds)
        while window.sent < window.total:
            due_now = min(window.total, int((clock() - window.started) * load.rate) + 1, window.sent + MOST_AT_ONCE)
            lots: list[list[tuple[float, bytes]]] = [[] for _ in callers]
            for number in range(window.sent, due_now):
                due = window.started + number / load.rate
                window.lateness.add_s(clock() - due)
                lots[number % len(lots)].append((due, source.request()))
            for caller, lot in zip(callers, lots, strict=True):
                if lot:
                    caller.send(lot, window.heard)
            window.sent = due_now
            next_due = window.started + window.sent / load.rate
            await asyncio.sleep(max(TICK_S, next_due - clock()) if next_due > clock() else 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await window.told_all.wait()
        for caller in callers:
            caller.give_up()
        return window

    warm = await offer_for(load.warm_s)
    say_ready()
    window = await offer_for(load.seconds)
    result = window.tally.as_result(clock() - window.started)
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
    for caller in callers:
        caller.close()
