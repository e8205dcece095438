"""Many orders at the same moment on few units. Latencies of all of them count from that moment, refusals included: who
hears "sold out" has waited too.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from bench.latencies import Latencies
from bench.loads.calling import close_channels, open_channels, place_order, told
from bench.loads.tally import ACCEPTED, Tally
from bench.orders import OrderSource
from bench.workers import say_ready, say_result


@dataclass(frozen=True)
class Load:
    """`orders` at once for each of `skus`, one SKU after the other; the first `warm` SKUs are not counted.
    `mode` as in `PlaceOrderRequest`.
    """

    endpoint: str
    skus: list[str]
    warm: int
    orders: int
    mode: str


async def drive(load: Load) -> None:
    channels = await open_channels(load.endpoint)
    calls = [place_order(channel) for channel in channels]
    warmed = Tally()
    for sku in load.skus[: load.warm]:
        warmed.told.update((await _at_once(calls, OrderSource([sku], load.mode), load.orders))["told"])
    say_ready()
    bursts = [await _at_once(calls, OrderSource([sku], load.mode), load.orders) for sku in load.skus[load.warm :]]
    elapsed_s = sum(burst["elapsed_s"] for burst in bursts)
    total = Tally()
    for burst in bursts:
        total.told.update(burst["told"])
    say_result(
        {
            "accepted": total.told[ACCEPTED],
            "refused": total.refusals(),
            "warm_refused": warmed.refusals(),
            "elapsed_s": elapsed_s,
            "orders_per_s": len(bursts) * load.orders / elapsed_s,
            "bursts": bursts,
        }
    )
    await close_channels(channels)


async def _at_once(calls: list[Any], source: OrderSource, orders: int) -> dict[str, Any]:
    requests = [source.request() for _ in range(orders)]
    tally, latencies = Tally(), Latencies()
    started = time.perf_counter()

    async def order(number: int) -> None:
        heard = await told(calls[number % len(calls)], requests[number])
        latency_s = time.perf_counter() - started
        tally.told[heard] += 1
        latencies.add_s(latency_s)
        if heard == ACCEPTED:
            tally.accepted.add_s(latency_s)

    await asyncio.gather(*(order(number) for number in range(orders)))
    return {
        "told": dict(tally.told),
        "elapsed_s": time.perf_counter() - started,
        "latency_ms": latencies.in_ms(),
        "accepted_latency_ms": tally.accepted.in_ms(),
        "latencies": latencies.encoded(),
    }
