"""What is measured: the no-op server, the embedded gateway and the whole cluster, each started and surely stopped."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from audit.checks import Finding
from audit.running import AuditReport
from bench.launching import accepts_connections, module, running
from bench.settling import wait_until_published
from bench.workers import WorkerFailed
from commands.audit import EXIT_FINDINGS
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
            partial(_audited, "--data-dir", str(data_dir)),
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
            partial(_audit_cluster, ends),
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


def _audit_cluster(ends: Endpoints) -> AuditReport:
    ledger = stock_store(ends)
    given = ["--keyspace", ledger.keyspace, "--stock-store", ledger.stock_store]
    given += ["--redis-url", ends.redis] if ends.redis else ["--cassandra", ledger.cassandra]
    return _audited("--journal-url", ends.postgres, "--kafka", ends.kafka, *given)


def _audited(*where: str) -> AuditReport:
    """As anybody runs it, in a process of its own: audits of two systems side by side then have a core each.

    Raises WorkerFailed.
    """
    command = [sys.executable, "-m", "commands.main", "audit", *where, "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if ended.returncode not in (0, EXIT_FINDINGS):
        raise WorkerFailed(f"{command!r} could not look: {ended.stdout.decode()}")
    found = json.loads(ended.stdout)
    wrong = [] if found["audit"] == "ok" else found["audit"]
    findings = [Finding(each["invariant"], each["subject"], each["message"]) for each in wrong]
    return AuditReport(findings, found["orders"], found["skus"], found["events"], [])


def nothing_to_drain() -> None:
    pass


def nothing_to_audit() -> AuditReport:
    return AuditReport([], 0, 0, 0, [])
