"""Sluice's own processes: their command, their settings, and how one knows that they serve."""

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.layout import ClusterSpec, Endpoints, address, endpoints
from deploy.local.ports import LOOPBACK
from deploy.local.processes import Command, NotAnsweringError, Process
from sluice.settings import StockStoreSettings

KEYSPACE = "sluice"
QUEUE = "queue"
_ANSWER_LIMIT_S = 2.0


def stockd(spec: ClusterSpec, ports: Mapping[str, int], name: str, log: Path) -> Process:
    target = address(ports[name])
    settings = _common(spec, ports, name) | _stores(spec, ports)
    settings |= {
        "SLUICE_NAME": name,
        "SLUICE_LISTEN": target,
        "SLUICE_PEER_DEAD_AFTER_S": str(spec.peer_dead_after_s),
    }
    return _service(name, log, settings, ports, partial(serves, target))


def gateway(spec: ClusterSpec, ports: Mapping[str, int], name: str, log: Path) -> Process:
    target = address(ports[name])
    settings = _common(spec, ports, name) | _stores(spec, ports)
    settings |= {
        "SLUICE_LISTEN": target,
        "SLUICE_STOCKD": _stockds(spec, ports),
        "SLUICE_KAFKA": endpoints(spec, ports).kafka,
    }
    return _service(name, log, settings, ports, partial(serves, target))


def relay(spec: ClusterSpec, ports: Mapping[str, int], name: str, log: Path) -> Process:
    found = endpoints(spec, ports)
    settings = _common(spec, ports, name) | {
        "SLUICE_JOURNAL_URL": found.postgres,
        "SLUICE_KAFKA": found.kafka,
        "SLUICE_TOPIC_REPLICATION_FACTOR": str(spec.brokers),
    }
    return _service(name, log, settings, ports, partial(shows_metrics, metrics_url(ports, name)))


def consume(spec: ClusterSpec, ports: Mapping[str, int], name: str, log: Path) -> Process:
    found = endpoints(spec, ports)
    settings = _common(spec, ports, name) | _stores(spec, ports)
    settings |= {
        "SLUICE_KAFKA": found.kafka,
        "SLUICE_STOCKD": _stockds(spec, ports),
        "SLUICE_TOPIC_REPLICATION_FACTOR": str(spec.brokers),
    }
    answers = partial(shows_metrics, metrics_url(ports, name))
    return _service(name, log, settings, ports, answers, arguments=_consumers(spec))


def _consumers(spec: ClusterSpec) -> Sequence[str]:
    return [name for name in spec.consumers.split(",") if name != QUEUE or spec.journals == 1]


def metrics_url(ports: Mapping[str, int], name: str) -> str:
    return f"http://{address(ports[f'{name}-metrics'])}/metrics"


def stock_store(found: Endpoints) -> StockStoreSettings:
    """The ledger of a running cluster, for those who look at it from outside."""
    given: dict[str, Any] = {"keyspace": KEYSPACE}
    if found.redis:
        given |= {"stock_store": "redis", "redis_url": found.redis}
    else:
        given |= {"stock_store": "cassandra", "cassandra": found.cassandra}
    return StockStoreSettings(**given)


def serves(target: str) -> None:
    """The standard health service says SERVING for the whole server. Raises NotAnsweringError."""
    with grpc.insecure_channel(target) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=""), timeout=_ANSWER_LIMIT_S
            )
        except grpc.RpcError as error:
            raise NotAnsweringError(f"health check of {target}: {error.code().name}") from error
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
        raise NotAnsweringError(f"health check of {target}: {status}")


def shows_metrics(url: str) -> None:
    """The metrics page is there. Raises NotAnsweringError."""
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_LIMIT_S) as reply:  # noqa: S310 - our own http URL
            status = reply.status
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise NotAnsweringError(f"{url}: {error}") from error
    if status != HTTPStatus.OK:
        raise NotAnsweringError(f"{url}: HTTP {status}")


def _common(spec: ClusterSpec, ports: Mapping[str, int], name: str) -> dict[str, str]:
    return {"SLUICE_LOG_LEVEL": spec.log_level, "SLUICE_METRICS_LISTEN": address(ports[f"{name}-metrics"])}


def _stockds(spec: ClusterSpec, ports: Mapping[str, int]) -> str:
    return ",".join(f"{owner}={spec.host(owner)}:{ports[owner]}" for owner in spec.names("stockd"))


def _stores(spec: ClusterSpec, ports: Mapping[str, int]) -> dict[str, str]:
    found = endpoints(spec, ports)
    settings = {
        "SLUICE_JOURNAL_URL": found.postgres,
        "SLUICE_STOCK_STORE": spec.store,
        "SLUICE_KEYSPACE": KEYSPACE,
    }
    if spec.store == "redis":
        return settings | {"SLUICE_REDIS_URL": found.redis}
    return settings | {"SLUICE_CASSANDRA": found.cassandra, "SLUICE_REPLICATION_FACTOR": str(spec.nodes)}


def _service(
    name: str,
    log: Path,
    settings: Mapping[str, str],
    ports: Mapping[str, int],
    answers: Callable[[], None],
    arguments: Sequence[str] = (),
) -> Process:
    role = name.rsplit("-", maxsplit=1)[0]
    command = Command(
        name=name,
        # The module form needs no PATH and starts the very installation that runs this.
        argv=(sys.executable, "-m", "commands.main", role, *arguments),
        directory=log.parent,
        log=log,
        environment=settings,
        listens=tuple((LOOPBACK, ports[key]) for key in (name, f"{name}-metrics") if key in ports),
    )
    return Process(command, answers)
