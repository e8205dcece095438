"""A sink that takes 2 ms a call: one record at a time against lanes, on the same backlog of a real topic.

Lanes keep the order of each key, and that is checked here on every event.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer as KafkaConsumer
from prometheus_client import CollectorRegistry

from bench.events.brokers import Brokers, make_topic
from bench.events.marked import MarkedProducer, mark_of
from bench.events.progress import Say
from consumers.runtime.consuming import consume_kafka
from consumers.runtime.handling import Consumer
from consumers.runtime.meters import Meters
from sluice.kafka_topics import CLIENT_LOG_LEVEL
from sluice.seams.event_log import LoggedEvent

SINK_S = 0.002
PARTITIONS = 16
KEYS = 2_000
EVENTS = 100_000
LONE_EVENTS = 1_000
SINGLE_CALLS = 20_000
"""Events of the runs that call the sink for each one."""

LANES = (16, 64)
RUN_LIMIT_S = 120.0


class OutOfOrder(Exception):
    """An event of a key came before its predecessor; the text says which."""


def measure(brokers: Brokers, say: Say, share: float) -> dict[str, Any]:
    """`share` of the events that a full run handles."""
    topic = make_topic(brokers, PARTITIONS)
    producer = MarkedProducer(brokers, topic, PARTITIONS, KEYS)
    producer.write(int(EVENTS * share))
    producer.flush()
    found = {"one at a time": _one_at_a_time(brokers, topic, int(LONE_EVENTS * share))}
    for lanes in LANES:
        found[f"{lanes} lanes, a call for each event"] = asyncio.run(
            _in_lanes(brokers, topic, lanes, 1, int(SINGLE_CALLS * share))
        )
    found[f"{LANES[0]} lanes, a call for each batch"] = asyncio.run(
        _in_lanes(brokers, topic, LANES[0], None, producer.written)
    )
    for name, run in found.items():
        say(f"{name}: {run['events_per_s']:,.0f} events/s")
    return {"sink_ms": 1000 * SINK_S, "keys": KEYS, "partitions": PARTITIONS, "runs": found}


def _one_at_a_time(brokers: Brokers, topic: str, count: int) -> dict[str, Any]:
    """As a loop around `poll` does it."""
    settings = {
        "bootstrap.servers": brokers.bootstrap,
        "group.id": f"lone-{uuid4().hex[:8]}",
        "auto.offset.reset": "earliest",
        "log_level": CLIENT_LOG_LEVEL,
    }
    with closing(KafkaConsumer(settings)) as consumer:
        consumer.subscribe([topic])
        while consumer.poll(1.0) is None:
            continue
        started = time.perf_counter()
        handled = 0
        while handled < count:
            if consumer.poll(1.0) is not None:
                time.sleep(SINK_S)
                handled += 1
        return _result(count, time.perf_counter() - started, calls=count)


async def _in_lanes(brokers: Brokers, topic: str, lanes: int, per_call: int | None, count: int) -> dict[str, Any]:
    """`per_call` events share a call of the sink; None: all that a lane was given."""
    turns: dict[str, int] = {}
    handled = calls = 0
    began: float | None = None
    enough, stopping = asyncio.Event(), asyncio.Event()

    async def handle(events: Sequence[LoggedEvent]) -> None:
        nonlocal handled, calls, began
        began = began or time.perf_counter()
        step = per_call or len(events)
        for start in range(0, len(events), step):
            if enough.is_set():
                return
            await asyncio.sleep(SINK_S)
            some = events[start : start + step]
            for key, turn, _ in map(mark_of, some):
                if turn != turns.get(key, -1) + 1:
                    raise OutOfOrder(f"{key}: {turn} after {turns.get(key)}")
                turns[key] = turn
            calls += 1
            handled += len(some)
            if handled >= count:
                enough.set()

    consuming = asyncio.create_task(
        consume_kafka(
            Consumer(f"lanes-{uuid4().hex[:8]}", [topic], handle),
            brokers.bootstrap,
            Meters(CollectorRegistry()),
            stopping,
            lanes=lanes,
            protocol="auto",
            replication_factor=brokers.copies,
            drain_limit_s=10,
        )
    )
    try:
        async with asyncio.timeout(RUN_LIMIT_S):
            await enough.wait()
        assert began is not None
        seconds = time.perf_counter() - began
    finally:
        stopping.set()
        await consuming
    return _result(handled, seconds, calls=calls)


def _result(events: int, seconds: float, *, calls: int) -> dict[str, Any]:
    return {"events": events, "seconds": seconds, "events_per_s": events / seconds, "events_per_call": events / calls}
