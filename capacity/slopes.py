"""What was measured: each slope with its unit in its name. Made by `make bench-capacity`, never by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

FORMAT = 2


class BadSlopes(ValueError):
    """The file of slopes is not what this release reads; the text names the slope."""


@dataclass(frozen=True)
class Drivers:
    """How often each thing is done for one order; or, as slopes, µs of CPU for doing it once.

    A group is the orders that reserve together, from one stock server for one journal; an entry is one SKU in one
    group; a write is a conditional write to the ledger for units that no order waits for, of which many share a round;
    a fetch is one that orders wait for, with a round of its own; waiting is an order that waits for one; a transaction
    commits groups; a log batch is the events that go to one partition together; a second is a server's life without
    orders.
    """

    order: float = 0.0
    line: float = 0.0
    message: float = 0.0
    call: float = 0.0
    group: float = 0.0
    entry: float = 0.0
    write: float = 0.0
    fetch: float = 0.0
    waiting: float = 0.0
    transaction: float = 0.0
    log_batch: float = 0.0
    second: float = 0.0

    @property
    def conditional_writes(self) -> float:
        return self.write + self.fetch

    def times(self, other: "Drivers") -> float:
        return float(sum(getattr(self, name) * getattr(other, name) for name in DRIVERS))


DRIVERS = tuple(field.name for field in fields(Drivers))


@dataclass(frozen=True)
class Costs:
    """µs of CPU, by part."""

    gateway: Drivers
    stockd: Drivers
    postgres: Drivers
    relay: Drivers
    kafka: Drivers
    cassandra: Drivers


PARTS = tuple(field.name for field in fields(Costs))


@dataclass(frozen=True)
class Slopes:
    """`source`: machine, date and command. Limits are what was reached on that machine, which had other work too: at
    least that much goes.
    """

    source: Mapping[str, Any]
    cpu_us: Costs
    journal_orders_per_s: float
    partition_events_per_s: float
    consumer_events_per_s: float
    consumer_us_per_event: float
    sku_writes_per_s: float
    contended_sku_writes_per_s: float
    ledger_writes_per_s: float
    journal_bytes_per_order: float
    journal_bytes_per_line: float
    log_bytes_per_order: float
    log_bytes_per_line: float
    ledger_bytes_per_sku: float
    max_connections: float
    lone_order_s: float
    synced_write_s: float


_NUMBERS = tuple(field.name for field in fields(Slopes) if field.name not in ("source", "cpu_us"))


def read_slopes(document: Mapping[str, Any]) -> Slopes:
    """Raises BadSlopes."""
    if document.get("format") != FORMAT:
        raise BadSlopes(f"format is {document.get('format')!r}, this release reads {FORMAT}")
    cpu_us = document.get("cpu_us", {})
    costs = {part: Drivers(**{name: _number(cpu_us.get(part, {}), name) for name in cpu_us[part]}) for part in PARTS}
    return Slopes(document["source"], Costs(**costs), **{name: _number(document, name) for name in _NUMBERS})


def _number(document: Mapping[str, Any], name: str) -> float:
    value = document.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise BadSlopes(f"{name} is {value!r}")
    return float(value)
