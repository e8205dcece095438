"""What is measured: the no-op server, the embedded gateway and the whole cluster, each started and surely stopped."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from audit.running import AuditReport, run_audit
from bench.launching import accepts_connections, module, running
from bench.settling import wait_until_published
from commands.audit import cluster_parts, embedded_parts
from deploy.local import cluster, postgres, services
from deploy.local.layout import ClusterSpec, Endpoints, address
from deploy.local.ports import free_port, holder
from deploy.local.processes import Process
from deploy.local.services import stock_store


class ForeignServer(Exception):
    """Another program's process answers where one of ours should: nothing may be measured, or sold, there."""


@dataclass(frozen=True)
class System:
    """`pids` by name; those in `python` are processes of ours. `audit` reads everything that was sold here. `metrics`
    holds where each stock server shows them, `stockds` where it is, as settings name them. `facts`: settings of a
    server that is this system's own.
    """

    name: str
    endpoint: str
    pids: Mapping[str, int]
    python: Sequence[str]
    audit: Callable[[], AuditReport]
    drain: Callable[[], None]
    metrics: Sequence[str] = ()
    stockds: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def noop(directory: Path) -> Iterator[System]:
    port = free_port()
    command = module("noop", directory, port, "bench.noop_server", address(port))
    with running(Process(command, partial(accepts_connections, port))) as pid:
        yield System("noop", address(port), {"noop": pid}, ["noop"], nothing_to_audit, nothing_to_drain)


@contextmanager
def embedded(directory: Path) -> Iterator[System]:
    port = free_port()
    target = address(port)
    data_dir = directory / "embedded"
    command = module(
        "embedded", directory, port, "commands.main", "serve", "--listen", target, "--data-dir", str(data_dir)
    )
    with running(Process(command, partial(services.serves, target))) as pid:
        yield System(
            "embedded",
            target,
            {"embedded": pid},
            ["embedded"],
            lambda: asyncio.run(_audit_embedded(data_dir)),
            nothing_to_drain,
        )


@contextmanager
def whole_cluster(directory: Path, say: Callable[[str], None]) -> Iterator[tuple[System, Endpoints]]:
    """1 gateway, 2 stockd, 1 relay, and one server each of Cassandra, Kafka and PostgreSQL. Of the consumers only the
    one that decides queued orders, idle while there are none: what becomes of others once they are on Kafka is not on
    their way.

    Raises ForeignServer, and whatever `cluster.up` raises.
    """
    spec = ClusterSpec(directory / "cluster", stockds=2, gateways=1, relays=1, consumers="queue", log_level="warning")
    try:
        up = cluster.up(spec, say=say)
        ends = up.endpoints
        processes = up.status().processes
        for process in processes:
            check_holder(process.name, process.pid, process.endpoint)
        system = System(
            "cluster",
            ends.gateways[0],
            {process.name: process.pid for process in processes},
            [process.name for process in processes if process.role in ("gateway", "stockd", "relay")],
            lambda: asyncio.run(_audit_cluster(ends)),
            partial(wait_until_published, ends.postgres),
            [process.metrics for process in processes if process.role == "stockd" and process.metrics],
            ",".join(f"{process.name}={process.endpoint}" for process in processes if process.role == "stockd"),
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


def nothing_but(name: str, pids: Mapping[str, int]) -> System:
    """Servers that a worker uses by itself."""
    return System(name, "", pids, [], nothing_to_audit, nothing_to_drain)


async def _audit_embedded(data_dir: Path) -> AuditReport:
    async with embedded_parts(data_dir) as parts:
        return await run_audit(parts.journal, parts.store, parts.log)


async def _audit_cluster(ends: Endpoints) -> AuditReport:
    async with cluster_parts(ends.postgres, stock_store(ends), ends.kafka) as parts:
        return await run_audit(parts.journal, parts.store, parts.log)


def nothing_to_drain() -> None:
    pass


def nothing_to_audit() -> AuditReport:
    return AuditReport([], 0, 0, 0, [])
