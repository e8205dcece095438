"""What a process shows to Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector


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
