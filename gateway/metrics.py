"""What a gateway counts, in the design's words. Per batch, not per order, wherever that says the same."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.outcomes import Accepted, Outcome, Reason

LOOK_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


def latencies(registry: CollectorRegistry, name: str, what: str) -> Histogram:
    return Histogram(name, what, buckets=LATENCY_BUCKETS_S, registry=registry)


class Timed(Protocol):
    """A histogram."""

    def time(self) -> AbstractContextManager[object]: ...


class OrderMetrics(Protocol):
    """Told what becomes of orders, and what they wait for, by whoever decides them."""

    reserve_seconds: Timed
    commit_seconds: Timed

    def decided(self, outcomes: Sequence[Outcome]) -> None: ...

    def refused(self, reason: Reason, orders: int) -> None: ...


class GatewayMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        orders = Counter("sluice_gateway_orders", "orders decided", ["outcome"], registry=registry)
        self._accepted = orders.labels("accepted")
        self._replayed = orders.labels("replayed")
        self._queued = orders.labels("queued")
        self._refused = {reason: orders.labels(reason.value.lower()) for reason in Reason}
        self._changes = Counter(
            "sluice_gateway_changes",
            "confirmations and cancellations answered",
            ["change", "outcome"],
            registry=registry,
        )
        self.holds_expired = Counter(
            "sluice_gateway_holds_expired", "held orders that this process has expired", registry=registry
        )
        self.place_seconds = latencies(
            registry, "sluice_gateway_place_seconds", "from a request's arrival to its answer, by request"
        )
        self.reserve_seconds: Timed = latencies(
            registry, "sluice_gateway_reserve_seconds", "one group of orders, until its stock servers have answered"
        )
        self.commit_seconds: Timed = latencies(
            registry,
            "sluice_gateway_commit_seconds",
            "one group of orders, from its reservation until the journal has it",
        )
        self.queue_append_seconds = latencies(
            registry,
            "sluice_gateway_queue_append_seconds",
            "one batch of queued orders, from its first byte until the queue has it",
        )
        self.stock_look_seconds = Histogram(
            "sluice_gateway_stock_look_seconds",
            "one look at the stock of all watched SKUs",
            buckets=LOOK_BUCKETS_S,
            registry=registry,
        )
        self.watch_look_seconds = Histogram(
            "sluice_gateway_watch_look_seconds",
            "one look at the journal for watched orders that have moved, all of them together",
            buckets=LOOK_BUCKETS_S,
            registry=registry,
        )

    def decided(self, outcomes: Sequence[Outcome]) -> None:
        first = outcomes[0]
        if isinstance(first, Accepted) and not first.replayed and outcomes.count(first) == len(outcomes):
            self._accepted.inc(len(outcomes))
            return
        for outcome in outcomes:
            if isinstance(outcome, Accepted):
                (self._replayed if outcome.replayed else self._accepted).inc()
            else:
                self._refused[outcome.reason].inc()

    def queued(self, orders: int) -> None:
        self._queued.inc(orders)

    def refused(self, reason: Reason, orders: int) -> None:
        self._refused[reason].inc(orders)

    def changed(self, change: str, refused: Reason | None) -> None:
        self._changes.labels(change, refused.value.lower() if refused else "done").inc()
