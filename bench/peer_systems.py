"""Peers as systems that can be measured: behind a gRPC server, on the cluster's servers or on one of their own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.launching import accepts_connections, module, running
from bench.peers import servers
from bench.peers.known import PEERS
from bench.settings import Program
from bench.systems import System, nothing_to_audit, nothing_to_drain
from deploy.local.layout import Endpoints, address
from deploy.local.ports import free_port
from deploy.local.processes import Process


class Missing(Exception):
    """A peer that cannot be measured here; the text says what is missing and how to get it."""


@contextmanager
def peer(
    name: str, directory: Path, ends: Endpoints, database: str, beside: System, program: Program | None
) -> Iterator[System]:
    """One of `bench.peers`: on the cluster's servers, or on one of its own. Raises Missing if that is not here."""
    known = PEERS[name]
    on_cluster = {
        "cassandra": (ends.cassandra, "cassandra-1"),
        "kafka": (ends.kafka, "kafka"),
        "postgres": (database, "postgres"),
    }
    with ExitStack() as started:
        if known.server in on_cluster:
            where, process = on_cluster[known.server]
            server = servers.PeerServer(where, {process: beside.pids[process]}, {})
        else:
            server = started.enter_context(own_server(known.server, directory, program))
        port = free_port()
        command = module(name, directory, port, "bench.peers.serving", name, address(port), server.address)
        pid = started.enter_context(running(Process(command, partial(accepts_connections, port))))
        pids = {"peer": pid, **server.pids}
        yield System(name, address(port), pids, ["peer"], nothing_to_audit, nothing_to_drain, facts=server.facts)


@contextmanager
def own_server(kind: str, directory: Path, program: Program | None) -> Iterator[servers.PeerServer]:
    if program is None or program.path is None:
        raise Missing(program.missing if program else f"no program for {kind}")
    starts = {
        "redis": servers.redis_without_log,
        "redis_aof": servers.redis_with_synced_log,
        "tigerbeetle": servers.tigerbeetle,
    }
    with starts[kind](directory, program.path) as server:
        yield server
