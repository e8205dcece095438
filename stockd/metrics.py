"""What a stock server counts, in the design's words."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from sluice.seams.stock_keeper import Verdict

TAKE_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Orders wait 1.2 s for the ledger."""


class StockdMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        orders = Counter("sluice_stockd_orders", "orders answered", ["verdict"], registry=registry)
        self._orders = {verdict: orders.labels(verdict.name.lower()) for verdict in Verdict}
        self.takes = Counter("sluice_stockd_takes", "conditional writes answered by the ledger", registry=registry)
        self.take_seconds = Histogram(
            "sluice_stockd_take_seconds",
            "one conditional write of a SKU, until the ledger answered or was given up",
            buckets=TAKE_BUCKETS_S,
            registry=registry,
        )
        self.store_errors = Counter("sluice_stockd_store_errors", "ledger calls without an answer", registry=registry)
        self.additions = Counter(
            "sluice_stockd_counter_additions", "additions to counters that were answered", registry=registry
        )
        self.uncertain_additions = Counter(
            "sluice_stockd_counter_additions_uncertain",
            "additions to counters without an answer; each closes its cell",
            registry=registry,
        )
        self.closed_by_grace = Counter(
            "sluice_stockd_reservations_closed",
            "reservations that nobody settled, decided by the journal",
            registry=registry,
        )
        self.reclaimed_units = Counter(
            "sluice_stockd_reclaimed_units",
            "units of fenced incarnations that this server gave back to the ledger",
            registry=registry,
        )
        self.peers_fenced = Counter(
            "sluice_stockd_peers_fenced", "silent stock servers that this one has fenced", registry=registry
        )

    def verdicts(self, verdict: Verdict, orders: int) -> None:
        self._orders[verdict].inc(orders)
