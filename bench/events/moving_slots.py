"""Slots that move while orders come in: how uneven a few hot SKUs make the partitions before and after `balance`, and
how late events become while a topic grows.

Whoever reads is a group of the runtime, so the moves wait for it as they would for any other.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from bench.events.following import ends
from bench.events.progress import Say
from bench.loads import messages
from bench.stocking import create_skus
from bench.workers import worker
from consumers.runtime.consuming import consume_kafka
from consumers.runtime.handling import Consumer
from consumers.runtime.meters import Meters
from deploy.local import cluster
from deploy.local.layout import ClusterSpec, Endpoints
from sluice.kafka_topics import open_admin
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, LoggedEvent

SKUS = [f"article-{number:04}" for number in range(1_000)]
ZIPF_EXPONENT = 1.0
DRAWS = 2_000
"""Orders take their SKUs from so many draws, again and again."""

SEED = 20_261_127
"""The same SKUs are hot in every run."""

BATCH = 100
INTERVAL_S = 0.05
ORDERS_PER_S = int(BATCH / INTERVAL_S)

MEASURED_S = 8.0
BEFORE_GROWTH_S = 5.0
GROWTH_LOAD_S = 20.0
GROWN_TO = 32
MOVE_LIMIT_S = 60.0
READING_LIMIT_S = 30.0


class MoveFailed(Exception):
    """The command ended with an error; the text is what it said."""


def zipf_draws() -> list[str]:
    draw = random.Random(SEED)
    weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, len(SKUS) + 1)]
    return draw.choices(SKUS, weights, k=DRAWS)


class Delays:
    """From the commit of each order until a consumer has its event: (seconds since the start, seconds late)."""

    def __init__(self) -> None:
        self.started = time.time()
        self.seen: list[tuple[float, float]] = []

    async def handle(self, events: Sequence[LoggedEvent]) -> None:
        now = time.time()
        self.seen += [(now - self.started, now - logged.event.time_ms / 1000) for logged in events]

    def longest_s(self, begin: float, end: float) -> float:
        return max((late for at, late in self.seen if begin <= at < end), default=0.0)

    def by_second(self) -> Mapping[int, float]:
        """The longest of each second."""
        longest: dict[int, float] = {}
        for at, late in self.seen:
            longest[int(at)] = max(late, longest.get(int(at), 0.0))
        return longest


def measure(directory: Path, say: Say, share: float) -> dict[str, Any]:
    """`share` of the time that a full run takes. Raises MoveFailed and whatever keeps a server from starting."""
    spec = ClusterSpec(directory / "cluster", consumers="", log_level="warning")
    try:
        running = cluster.up(spec, say=say)
        create_skus(running.endpoints.gateways[0], SKUS)
        return asyncio.run(_measure(running.endpoints, say, share))
    finally:
        cluster.down(spec.directory, purge=True, say=say)


async def _measure(found: Endpoints, say: Say, share: float) -> dict[str, Any]:
    delays = Delays()
    draws = zipf_draws()
    async with _reading(found, delays):
        before = await _load_by_partition(found, draws, MEASURED_S * share)
        await _move(found, "balance", TOPIC_STOCK_CHANGED, "--yes", "--minutes", "1")
        after = await _load_by_partition(found, draws, MEASURED_S * share)
        say(f"fullest partition: {_skew(before):.2f} of the mean before balancing, {_skew(after):.2f} after")
        growth = await _grow(found, draws, delays, share)
        say(f"growth: longest delay {growth['longest_delay_growing_s']:.2f} s")
    hottest_share = max(Counter(draws).values()) / len(draws)
    skew = {
        "before": before,
        "after": after,
        "skew_before": _skew(before),
        "skew_after": _skew(after),
        "hottest_sku": hottest_share * len(after),
    }
    return {"skus": len(SKUS), "orders_per_s": ORDERS_PER_S, "skew": skew, "growth": growth}


async def _load_by_partition(found: Endpoints, skus: Sequence[str], seconds: float) -> list[int]:
    """Events on each partition that so many seconds of orders make."""
    admin = open_admin(found.kafka)
    before = await asyncio.to_thread(ends, admin, TOPIC_STOCK_CHANGED)
    result = await asyncio.to_thread(_sell, found, skus, seconds)
    deadline = time.monotonic() + READING_LIMIT_S
    while True:
        after = await asyncio.to_thread(ends, admin, TOPIC_STOCK_CHANGED)
        added = [after[partition] - before.get(partition, 0) for partition in sorted(after)]
        if sum(added) >= result["accepted"]:
            return added
        if time.monotonic() > deadline:
            raise TimeoutError(f"{sum(added)} of {result['accepted']} events are on Kafka")
        await asyncio.sleep(0.1)


async def _grow(found: Endpoints, skus: Sequence[str], delays: Delays, share: float) -> dict[str, Any]:
    selling = asyncio.create_task(asyncio.to_thread(_sell, found, skus, GROWTH_LOAD_S * share))
    began = time.time() - delays.started
    await asyncio.sleep(BEFORE_GROWTH_S * share)
    growing = time.time() - delays.started
    await _move(found, "grow", TOPIC_STOCK_CHANGED, str(GROWN_TO))
    grown = time.time() - delays.started
    result = await selling
    ended = time.time() - delays.started
    return {
        "to_partitions": GROWN_TO,
        "accepted": result["accepted"],
        "refused": result["refused"],
        "move_s": grown - growing,
        "began_s": began,
        "growing_s": growing,
        "grown_s": grown,
        "longest_delay_before_s": delays.longest_s(began, growing),
        # What was late because of the move may arrive a little after it.
        "longest_delay_growing_s": delays.longest_s(growing, ended),
        "longest_by_second": {str(second): late for second, late in sorted(delays.by_second().items())},
    }


@asynccontextmanager
async def _reading(found: Endpoints, delays: Delays) -> AsyncIterator[None]:
    stopping = asyncio.Event()
    consuming = asyncio.create_task(
        consume_kafka(
            Consumer("bench-reader", [TOPIC_STOCK_CHANGED], delays.handle),
            found.kafka,
            Meters(CollectorRegistry()),
            stopping,
            lanes=16,
            protocol="auto",
            replication_factor=1,
            drain_limit_s=10,
        )
    )
    try:
        yield
    finally:
        stopping.set()
        await consuming


def _sell(found: Endpoints, skus: Sequence[str], seconds: float) -> dict[str, Any]:
    load = messages.Load(
        endpoint=found.gateways[0],
        skus=list(skus),
        batch=BATCH,
        in_flight=8,
        messages=1,
        interval_s=INTERVAL_S,
        seconds=seconds,
    )
    with worker("bench.loads", asdict(load) | {"kind": "messages"}) as loading:
        loading.wait_until_warm()
        loading.begin()
        result: dict[str, Any] = loading.result()
    return result


async def _move(found: Endpoints, *arguments: str) -> None:
    command = [sys.executable, "-m", "commands.main", "partitions", *arguments]
    command += ["--journal-url", found.postgres, "--kafka", found.kafka]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=MOVE_LIMIT_S, check=False
    )
    if done.returncode:
        raise MoveFailed(done.stderr.strip())


def _skew(added: Sequence[int]) -> float:
    """The fullest partition, in means."""
    return max(added) * len(added) / sum(added)
