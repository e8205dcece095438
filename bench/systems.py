"""What is measured: the no-op server, the embedded gateway and the whole cluster, each started and surely stopped."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import asyncpg
import grpc
from prometheus_client.parser import text_string_to_metric_families

from audit.running import AuditReport, run_audit
from bench.orders import UNITS
from commands.audit import cluster_parts, embedded_parts
from deploy.local import cluster, postgres, services
from deploy.local.layout import ClusterSpec, Endpoints, address
from deploy.local.ports import LOOPBACK, accepts, free_port, holder
from deploy.local.processes import Command, NotAnsweringError, Process
from deploy.local.services import stock_store
from sluice._gen.stock.v1 import stock_pb2
from sluice.rpc.channel import CHANNEL_OPTIONS

CREATE_TIMEOUT_S = 30.0

METRICS_TIMEOUT_S = 5.0

QUIET_S = 1.2
"""Longer than two looks of a stock server's housekeeping."""

QUIET_LIMIT_S = 180.0

DRAIN_LIMIT_S = 600.0
"""For the relay to publish what a run left behind."""

DRAIN_POLL_S = 0.05

BENCH_DATABASE = "bench_journal"
"""Beside the cluster's own: rows of the bare journal loop are nobody's orders, and no relay publishes them."""


class ForeignServer(Exception):
    """Another program's process answers where one of ours should: nothing may be measured, or sold, there."""


@dataclass(frozen=True)
class System:
    """`pids` by name; those in `python` are processes of ours. `audit` reads everything that was sold here. `metrics`
    holds where each stock server shows them.
    """

    name: str
    endpoint: str
    pids: Mapping[str, int]
    python: Sequence[str]
    audit: Callable[[], AuditReport]
    drain: Callable[[], None]
    metrics: Sequence[str] = ()


@contextmanager
def noop(directory: Path) -> Iterator[System]:
    port = free_port()
    command = _module("noop", directory, port, "bench.noop_server", address(port))
    with _running(Process(command, partial(_accepts, port))) as pid:
        yield System("noop", address(port), {"noop": pid}, ["noop"], _nothing_to_audit, _nothing_to_drain)


@contextmanager
def embedded(directory: Path) -> Iterator[System]:
    port = free_port()
    target = address(port)
    data_dir = directory / "embedded"
    command = _module(
        "embedded", directory, port, "commands.main", "serve", "--listen", target, "--data-dir", str(data_dir)
    )
    with _running(Process(command, partial(services.serves, target))) as pid:
        yield System(
            "embedded",
            target,
            {"embedded": pid},
            ["embedded"],
            lambda: asyncio.run(_audit_embedded(data_dir)),
            _nothing_to_drain,
        )


@contextmanager
def whole_cluster(directory: Path, say: Callable[[str], None]) -> Iterator[tuple[System, Endpoints]]:
    """1 gateway, 2 stockd, 1 relay, and one server each of Cassandra, Kafka and PostgreSQL. No consumers: what becomes
    of orders after they are on Kafka is not on their way.

    Raises ForeignServer, and whatever `cluster.up` raises.
    """
    spec = ClusterSpec(directory / "cluster", stockds=2, gateways=1, relays=1, consumers="", log_level="warning")
    try:
        running = cluster.up(spec, say=say)
        ends = running.endpoints
        processes = running.status().processes
        for process in processes:
            check_holder(process.name, process.pid, process.endpoint)
        system = System(
            "cluster",
            ends.gateways[0],
            {process.name: process.pid for process in processes},
            [process.name for process in processes if process.role in ("gateway", "stockd", "relay")],
            lambda: asyncio.run(_audit_cluster(ends)),
            lambda: asyncio.run(_until_published(ends.postgres)),
            [process.metrics for process in processes if process.role == "stockd" and process.metrics],
        )
        yield system, ends
    finally:
        cluster.down(spec.directory, purge=True, say=say)


def check_holder(name: str, pid: int, endpoint: str | None) -> None:
    """Raises ForeignServer unless process `pid` itself listens on the port at the end of `endpoint`'s address.

    Two clusters that start in the same second can choose the same port: one server then fails to bind, and the other
    one's answers are taken for its own.
    """
    if endpoint is None:
        return
    port = int(endpoint.removesuffix(f"/{postgres.DATABASE}").rsplit(":", maxsplit=1)[1])
    found = holder(port)
    if found is None or found.pid != pid:
        raise ForeignServer(f"{name} is process {pid}, but port {port} is held by {found or 'nobody we can see'}")


@contextmanager
def peer(name: str, directory: Path, ends: Endpoints, cassandra_pid: int) -> Iterator[System]:
    """One of `bench.peers`, on the cluster's Cassandra."""
    port = free_port()
    command = _module(name, directory, port, f"bench.peers.{name}", address(port), ends.cassandra)
    with _running(Process(command, partial(_accepts, port))) as pid:
        pids = {name: pid, "cassandra-1": cassandra_pid}
        yield System(name, address(port), pids, [name], _nothing_to_audit, _nothing_to_drain)


def nothing_but(name: str, pids: Mapping[str, int]) -> System:
    """Servers that a worker uses by itself."""
    return System(name, "", pids, [], _nothing_to_audit, _nothing_to_drain)


def conditional_writes(system: System) -> int:
    """That the stock servers have made so far."""
    total = 0.0
    for url in system.metrics:
        with urlopen(url, timeout=METRICS_TIMEOUT_S) as page:
            for family in text_string_to_metric_families(page.read().decode()):
                total += sum(sample.value for sample in family.samples if sample.name == "sluice_stockd_takes_total")
    return int(total)


def wait_until_quiet(system: System) -> None:
    """Returns when the stock servers write nothing any more: what was taken ahead for the run before is back. Raises
    TimeoutError.
    """
    deadline = time.monotonic() + QUIET_LIMIT_S
    before = -1
    while (now := conditional_writes(system)) != before:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stock servers have not become quiet in {QUIET_LIMIT_S:g} s")
        before = now
        time.sleep(QUIET_S if system.metrics else 0)


def create_skus(endpoint: str, skus: Sequence[str], policy: str = "STOCK_POLICY_UNSPECIFIED") -> None:
    """With UNITS each."""
    with grpc.insecure_channel(endpoint, options=CHANNEL_OPTIONS) as channel:
        create: Any = channel.unary_unary(
            "/sluice.stock.v1.StockService/CreateSku",
            request_serializer=stock_pb2.CreateSkuRequest.SerializeToString,
            response_deserializer=stock_pb2.CreateSkuResponse.FromString,
        )
        for sku in skus:
            create(stock_pb2.CreateSkuRequest(sku=sku, units=UNITS, policy=policy), timeout=CREATE_TIMEOUT_S)


def make_bench_database(cluster_url: str) -> str:
    """An empty database on the same server; returns its URL."""

    async def make() -> None:
        connection = await asyncpg.connect(cluster_url)
        try:
            await connection.execute(f"CREATE DATABASE {BENCH_DATABASE}")
        finally:
            await connection.close()

    asyncio.run(make())
    return cluster_url.rsplit("/", maxsplit=1)[0] + f"/{BENCH_DATABASE}"


def _module(name: str, directory: Path, port: int, *arguments: str) -> Command:
    return Command(
        name=name,
        argv=(sys.executable, "-m", *arguments),
        directory=directory,
        log=directory / f"{name}.log",
        environment={"SLUICE_LOG_LEVEL": "warning"},
        listens=((LOOPBACK, port),),
        stop_signal=signal.SIGTERM,
    )


@contextmanager
def _running(process: Process) -> Iterator[int]:
    try:
        process.start()
        assert process.identity
        yield process.identity.pid
    finally:
        process.terminate()


def _accepts(port: int) -> None:
    if not accepts(LOOPBACK, port):
        raise NotAnsweringError(f"nothing listens on port {port}")


async def _audit_embedded(data_dir: Path) -> AuditReport:
    async with embedded_parts(data_dir) as parts:
        return await run_audit(parts.journal, parts.store, parts.log)


async def _audit_cluster(ends: Endpoints) -> AuditReport:
    async with cluster_parts(ends.postgres, stock_store(ends), ends.kafka) as parts:
        return await run_audit(parts.journal, parts.store, parts.log)


async def _until_published(journal_url: str) -> None:
    """Returns when the outbox is empty. Raises TimeoutError."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    connection = await asyncpg.connect(journal_url)
    try:
        while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the relay has not emptied the outbox in {DRAIN_LIMIT_S:g} s")
            await asyncio.sleep(DRAIN_POLL_S)
    finally:
        await connection.close()


def _nothing_to_drain() -> None:
    pass


def _nothing_to_audit() -> AuditReport:
    return AuditReport([], 0, 0, 0, [])
