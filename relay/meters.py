"""What the relay tells about itself, in the design's words."""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from journal.protocol import Backlog


class RelayMeters:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._published = Counter(
            "sluice_relay_events_published",
            "Events acknowledged by Kafka; repeats after a failure count again",
            ["topic"],
            registry=registry,
        )
        self._deleted = Counter(
            "sluice_relay_rows_deleted", "Outbox rows whose every event is on Kafka", registry=registry
        )
        self._errors = Counter(
            "sluice_relay_publish_errors", "Times that publishing was started again", registry=registry
        )
        self._backlog = Gauge("sluice_relay_backlog_rows", "Outbox rows that are not on Kafka yet", registry=registry)
        self._lag = Gauge("sluice_relay_lag_seconds", "Age of the oldest outbox row, 0 if none", registry=registry)
        self._leader = Gauge("sluice_relay_leader", "1 while this relay holds the outbox's lease", registry=registry)
        self._poisoned = Gauge(
            "sluice_relay_poisoned_rows", "Unreadable outbox rows in front; publishing waits", registry=registry
        )

    def published(self, events_by_topic: Mapping[str, int]) -> None:
        for topic, count in events_by_topic.items():
            self._published.labels(topic).inc(count)

    def deleted(self, rows: int) -> None:
        self._deleted.inc(rows)

    def publishing_failed(self) -> None:
        self._errors.inc()

    def leading(self, leads: bool) -> None:
        self._leader.set(leads)

    def poisoned(self, rows: int) -> None:
        self._poisoned.set(rows)

    def waiting(self, backlog: Backlog, now: datetime) -> None:
        self._backlog.set(backlog.rows)
        self._lag.set(max(0.0, (now - backlog.oldest).total_seconds()) if backlog.oldest else 0.0)
