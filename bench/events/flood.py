"""A million orders at once, and what becomes of their events: how fast they are accepted, relayed and projected, and
how much memory each consumer needs to work through such a backlog.

All rates are of one run on one machine: the relay stands still while orders are accepted, consumers are started when
everything is on Kafka. So each rate is what one process does when it need not share the cores with the others' load.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from bench.events.following import ends, work_through
from bench.events.progress import Say
from bench.loads import stream
from bench.measure import read_clock, used_between, watch_memory
from bench.stocking import create_skus
from bench.workers import worker
from deploy.local import cluster
from deploy.local.layout import ClusterSpec, Endpoints, address
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.processes import Command, Process
from deploy.local.services import KEYSPACE, shows_metrics
from sluice.kafka_topics import open_admin
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED

BATCH = 500
IN_FLIGHT = 8
WARM_MESSAGES = 20

SKUS = [f"article-{number:04}" for number in range(100)]
"""A flash sale's: hot enough that events of a SKU fold, more than one or two lanes are busy."""

MEMORY_INTERVAL_S = 0.2
DRAIN_LIMIT_S = 300.0
POLL_S = 0.02

WATCHED_S = 40.0
"""Of a consumer that would take longer for the backlog: its memory is what it is after some seconds."""

CONSUMED = {
    "projection": TOPIC_STOCK_CHANGED,
    "compensation": TOPIC_STOCK_CHANGED,
    "lifecycle": TOPIC_ORDER_CREATED,
}


@dataclass(frozen=True)
class Flood:
    """`orders` of one line each over SKUS: two events each."""

    orders: int


def measure(flood: Flood, directory: Path, say: Say) -> dict[str, Any]:
    """Raises whatever keeps a server from starting, WorkerFailed, TimeoutError, NotInTime."""
    spec = ClusterSpec(directory / "cluster", consumers="", log_level="warning")
    try:
        running = cluster.up(spec, say=say)
        create_skus(running.endpoints.gateways[0], SKUS)
        accepted, relayed = _accept_then_relay(flood, running, say)
        consumers = {name: _consume(name, topic, running, directory, say) for name, topic in CONSUMED.items()}
    finally:
        cluster.down(spec.directory, purge=True, say=say)
    return {"orders": flood.orders, "skus": len(SKUS), "accepted": accepted, "relayed": relayed, "consumers": consumers}


def _accept_then_relay(flood: Flood, running: cluster.Cluster, say: Say) -> tuple[dict[str, Any], dict[str, Any]]:
    ends = running.endpoints
    relay = running.process("relay-0")
    assert relay.identity
    relay_pid = relay.identity.pid
    settings = asdict(
        stream.Load(ends.gateways[0], SKUS, BATCH, IN_FLIGHT, WARM_MESSAGES, IN_FLIGHT, flood.orders // BATCH)
    )
    with worker("bench.loads", settings | {"kind": "stream"}) as load:
        load.wait_until_warm()
        asyncio.run(_until_relayed(ends.postgres))
        relay.stop()
        try:
            load.begin()
            result = load.result()
        finally:
            clocked = {"relay": relay_pid} | {name: _pid(running, name) for name in ("kafka", "postgres")}
            before = read_clock(clocked)
            relay.cont()
    accepted = {name: result[name] for name in ("accepted", "refused", "elapsed_s", "orders_per_s", "latency_ms")}
    say(f"accepted {accepted['orders_per_s']:,.0f} orders/s")
    with watch_memory({"relay": relay_pid}, MEMORY_INTERVAL_S) as memory:
        asyncio.run(_until_relayed(ends.postgres))
    after = read_clock(clocked)
    events, seconds = 2 * accepted["accepted"], after.wall_s - before.wall_s
    say(f"relayed  {events / seconds:,.0f} events/s")
    return accepted, {
        "events": events,
        "seconds": seconds,
        "events_per_s": events / seconds,
        "cpu_s": used_between(before, after),
        "highest_rss_mib": memory.highest_mib()["relay"],
    }


def _consume(name: str, topic: str, running: cluster.Cluster, directory: Path, say: Say) -> dict[str, Any]:
    total = sum(ends(open_admin(running.endpoints.kafka), topic).values())
    with _consumer(name, running, directory) as (pid, metrics_url):
        clocked = {name: pid} | {server: _pid(running, server) for server in ("kafka", "postgres", "cassandra-1")}
        before = read_clock(clocked)
        with watch_memory({name: pid}, MEMORY_INTERVAL_S) as memory:
            worked = work_through(metrics_url, total, WATCHED_S)
        after = read_clock(clocked)
    highest = memory.highest_mib()[name]
    rate = worked.events / worked.seconds
    say(f"{name:13}{rate:,.0f} events/s, later {worked.later_events_per_s:,.0f}; {highest:.0f} MiB at most")
    return {
        "topic": topic,
        "events": worked.events,
        "seconds": worked.seconds,
        "events_per_s": rate,
        "later_events_per_s": worked.later_events_per_s,
        "finished": worked.finished,
        "cpu_s": used_between(before, after),
        "rss_mib": memory.series[name],
    }


@contextmanager
def _consumer(name: str, running: cluster.Cluster, directory: Path) -> Iterator[tuple[int, str]]:
    """A process of the consumer `name`; its pid, and where it shows its metrics."""
    port = free_port()
    command = Command(
        name=name,
        argv=(sys.executable, "-m", "commands.main", "consume", name),
        directory=directory,
        log=directory / f"{name}.log",
        environment=_settings(running, port),
        listens=((LOOPBACK, port),),
        stop_signal=signal.SIGTERM,
    )
    metrics_url = f"http://{address(port)}/metrics"
    process = Process(command, partial(shows_metrics, metrics_url))
    try:
        process.start()
        assert process.identity
        yield process.identity.pid, metrics_url
    finally:
        process.terminate()


def _settings(running: cluster.Cluster, metrics_port: int) -> Mapping[str, str]:
    ends: Endpoints = running.endpoints
    stockds = [process for process in running.status().processes if process.role == "stockd"]
    return {
        "SLUICE_LOG_LEVEL": "warning",
        "SLUICE_METRICS_LISTEN": address(metrics_port),
        "SLUICE_JOURNAL_URL": ends.postgres,
        "SLUICE_CASSANDRA": ends.cassandra,
        "SLUICE_KEYSPACE": KEYSPACE,
        "SLUICE_KAFKA": ends.kafka,
        "SLUICE_STOCKD": ",".join(f"{process.name}={process.endpoint}" for process in stockds),
    }


def _pid(running: cluster.Cluster, name: str) -> int:
    identity = running.process(name).identity
    assert identity
    return identity.pid


async def _until_relayed(journal_url: str) -> None:
    """Returns when the outbox is empty. Raises TimeoutError."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    connection = await asyncpg.connect(journal_url)
    try:
        while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the relay has not emptied the outbox in {DRAIN_LIMIT_S:g} s")
            await asyncio.sleep(POLL_S)
    finally:
        await connection.close()
