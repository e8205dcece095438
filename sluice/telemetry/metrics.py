"""`/metrics` for Prometheus, on a port of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sluice.errors import CannotListen
from sluice.host_port import split_host_port


def new_registry() -> CollectorRegistry:
    """A registry with what every process shows of itself: CPU, memory, open files, garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def gauge(registry: CollectorRegistry, name: str, description: str, read: Callable[[], float]) -> None:
    """A gauge that is read when somebody asks."""
    Gauge(name, description, registry=registry).set_function(read)


def serve(registry: CollectorRegistry, listen: str) -> int:
    """Answers scrapes from a thread of its own; returns the port. Raises CannotListen."""
    host, port = split_host_port(listen)
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise CannotListen(f"cannot listen on {listen} for metrics: {error.strerror}") from error
    return int(server.server_port)
