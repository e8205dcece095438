"""The slopes, from the runs of one measurement and nothing else."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from bench.capacity.least_squares import fit
from bench.capacity.plan import SETTLED_PARTITIONS
from capacity.batching import Counts, distinct, log_batches_per_s, of_policy
from capacity.load import Load, Policy
from capacity.slopes import FORMAT, Drivers

Run = Mapping[str, Any]

STOCKDS = 2

LOAD_GENERATOR = "client"

DRIVEN_BY: Mapping[str, tuple[str, ...]] = {
    "gateway": ("order", "line", "message", "call", "group", "entry"),
    "stockd": ("order", "line", "group", "entry", "write", "fetch", "waiting"),
    "postgres": ("order", "line", "entry", "transaction"),
    "relay": ("order", "line", "transaction", "log_batch"),
    "kafka": ("order", "line", "log_batch"),
    "cassandra": ("write", "fetch", "second"),
    LOAD_GENERATOR: ("order", "line", "message", "call"),
}
"""What each part does for an order. The load generator is no part of Sluice: it shares this machine, so it is needed to
foresee rates, and is no slope.
"""

PROCESSES: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway-0",),
    "stockd": ("stockd-0", "stockd-1"),
    "relay": ("relay-0",),
    "cassandra": ("cassandra-1",),
}
"""Where a part's name is not that of its process."""


def slopes_of(document: Mapping[str, Any]) -> dict[str, Any]:
    runs = [run for run in document["runs"] if run["purpose"] == "fit"]
    cpu_us = fitted_us(runs)
    one_line = [run for run in runs if run["lines"] == 1]
    carts = [run for run in runs if run["lines"] > 1]
    journal, log = _bytes_each(one_line, _journal_bytes), _bytes_each(one_line, _log_bytes)
    more_lines = median(run["lines"] for run in carts) - 1
    ledger = document["ledger"]
    consumer = document["consumer"]
    return {
        "format": FORMAT,
        "source": {name: document[name] for name in ("started", "command", "machine", "servers")}
        | {"cores_of_others": median(run["cpu_s"]["others"] / wall_s(run) for run in runs)},
        "cpu_us": {part: cpu_us[part] for part in DRIVEN_BY if part != LOAD_GENERATOR},
        "journal_orders_per_s": median(run["orders_per_s"] for run in document["journal"]),
        "partition_events_per_s": _partition_events_per_s(document["partitions"]),
        "consumer_events_per_s": consumer["events"] / consumer["elapsed_s"],
        "consumer_us_per_event": 1e6 * consumer["cpu_s"] / consumer["events"],
        "sku_writes_per_s": _writes_per_s(ledger, skus=1, writers=1),
        "contended_sku_writes_per_s": _writes_per_s(ledger, skus=1, writers=max(run["writers"] for run in ledger)),
        "ledger_writes_per_s": _writes_per_s(ledger, skus=max(run["skus"] for run in ledger), writers=1),
        "journal_bytes_per_order": journal,
        "journal_bytes_per_line": max(0.0, (_bytes_each(carts, _journal_bytes) - journal) / more_lines),
        "log_bytes_per_order": log,
        "log_bytes_per_line": max(0.0, (_bytes_each(carts, _log_bytes) - log) / more_lines),
        "ledger_bytes_per_sku": document["bytes"]["ledger_bytes"] / document["bytes"]["skus"],
        "max_connections": document["servers"]["postgresql"]["max_connections"],
        "lone_order_s": median(_of(document["runs"], "alone", lambda run: run["latency_ms"]["p50"])) / 1_000,
        "synced_write_s": document["machine"]["synced_write_ms"] / 1_000,
    }


def fitted_us(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """µs of CPU by part and driver."""
    done = [drivers_of(run) for run in runs]
    return {
        part: dict(
            zip(
                names,
                fit([[getattr(each, name) for name in names] for each in done], [cpu_us_of(run, part) for run in runs]),
                strict=True,
            )
        )
        for part, names in DRIVEN_BY.items()
    }


def drivers_of(run: Run) -> Drivers:
    """What was done for an order of a run, as its rows and counters say."""
    accepted, written = run["accepted"], run["written"]
    group = written["reservations"] / accepted
    return Drivers(
        order=1.0,
        line=run["lines"] - 1.0,
        message=1 / run["batch"] if run["batch"] else 0.0,
        call=0.0 if run["batch"] else 1.0,
        group=group,
        entry=entries(run["lines"], run["skus"], 1 / group) * group,
        **of_policy(Policy(run["policy"]), run["conditional_writes"] / accepted),
        transaction=written["transactions"] / accepted,
        log_batch=log_batch(run["lines"], run["skus"], accepted / wall_s(run)),
        second=wall_s(run) / accepted,
    )


def entries(lines: int, skus: int, size: float) -> float:
    """Different SKUs in a group of `size` orders, each SKU asked for alike."""
    return distinct(size * lines, max(1.0, skus / STOCKDS))


def log_batch(lines: int, skus: int, rate_per_s: float) -> float:
    """For an order, if so many a second come evenly and each SKU is asked for alike."""
    load = Load(rate_per_s, lines_per_order=lines, skus=skus, hottest_share=1 / skus)
    return log_batches_per_s(load, Counts(partitions=SETTLED_PARTITIONS)) / rate_per_s


def wall_s(run: Run) -> float:
    """Until the last event was on Kafka."""
    return float(run["elapsed_s"] + run["drain_s"])


def cpu_us_of(run: Run, part: str) -> float:
    return 1e6 * float(sum(run["cpu_s"][name] for name in PROCESSES.get(part, (part,)))) / int(run["accepted"])


def _journal_bytes(run: Run) -> float:
    return float(run["written"]["order_bytes"] + run["written"]["spend_bytes"])


def _log_bytes(run: Run) -> float:
    return float(run["written"]["order-created_bytes"] + run["written"]["stock-changed_bytes"])


def _bytes_each(runs: Sequence[Run], count: Callable[[Run], float]) -> float:
    """Over all runs together: a table grows by whole pages, and now and then by more."""
    return float(sum(count(run) for run in runs) / sum(run["accepted"] for run in runs))


def _partition_events_per_s(runs: Sequence[Run]) -> float:
    """What one partition was seen to take: the best of one publisher and of several."""
    rates: dict[int, list[float]] = {}
    for run in runs:
        if run["partitions"] == 1:
            rates.setdefault(run["publishers"], []).append(run["events"] / run["elapsed_s"])
    return max(median(each) for each in rates.values())


def _writes_per_s(runs: Sequence[Run], *, skus: int, writers: int) -> float:
    rates: list[float] = [
        run["writes"] / run["elapsed_s"] for run in runs if run["skus"] == skus and run["writers"] == writers
    ]
    return median(rates)


def _of(runs: Sequence[Run], purpose: str, what: Callable[[Run], float]) -> list[float]:
    return [what(run) for run in runs if run["purpose"] == purpose]
