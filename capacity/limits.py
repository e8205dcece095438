"""What each part must carry of a load, and what one of it can: the limits among which the tightest decides."""

import math
from dataclasses import dataclass

from capacity.batching import Counts, drivers, sku_writes_per_s
from capacity.load import Load, Policy
from capacity.slopes import Drivers, Slopes
from sluice.model import MAX_OWNERS
from sluice.slots import SLOT_COUNT

GATEWAYS = "gateways"
STOCKDS = "stockd"
OWNERS = "owners of the hottest SKU"
JOURNALS = "PostgreSQL shards"
RELAYS = "relays"
PARTITIONS = "Kafka partitions a topic"
CONSUMERS = "consumer processes"
BROKERS = "Kafka brokers"
NODES = "Cassandra nodes"
LEDGER_ROW = "ledger row of the hottest SKU"

DISK = "disk"

PROCESS_CORES = 1.0
"""A Python process computes on one core: its interpreter lock. What the threads of gRPC and Kafka use is counted as if
it needed that core too."""

US = 1e-6
HOUR_S = 3_600.0
GB = 1e9


@dataclass(frozen=True)
class Limit:
    """`need` is what the load asks of all units together, `fixed` what it asks of one however many there are, and
    `each` what one can give at most, of which a headroom stays free. `slope`: the measured figure in it.
    """

    name: str
    slope: str
    need: float
    each: float
    unit: str
    fixed: float = 0.0

    def possible(self, headroom: float) -> bool:
        return self.each * (1 - headroom) > self.fixed

    def units(self, headroom: float) -> int:
        """How many it takes. What is not possible is reckoned without what one unit alone would have to carry."""
        free = self.each * (1 - headroom) - (self.fixed if self.possible(headroom) else 0.0)
        return max(1, math.ceil(self.need / free - ROUNDING))

    def used(self, count: int) -> float:
        """The share of one unit that is taken."""
        return (self.fixed + self.need / count) / self.each


ROUNDING = 1e-9


@dataclass(frozen=True)
class Part:
    """At least `least` of it are needed whatever the load, and no more than `most` can be had."""

    name: str
    limits: tuple[Limit, ...]
    least: int = 1
    most: int | None = None


def parts(load: Load, counts: Counts, slopes: Slopes) -> tuple[Part, ...]:
    """With batches as they are among so many processes."""
    per_order = drivers(load, counts, slopes, load.group_s)
    # Nothing tells gateways that a relay has too much to do: it gets transactions as small as idle gateways make them.
    hurried = drivers(load, counts, slopes, min(load.group_s, slopes.lone_order_s))
    rate, cpu = load.orders_per_s, slopes.cpu_us
    hot = min(1.0, load.hottest_share * load.lines_per_order)
    stockd_cores = rate * cpu.stockd.times(per_order) * US
    more_lines = load.lines_per_order - 1
    peak_orders = rate * load.peak_hours * HOUR_S
    journal_bytes = slopes.journal_bytes_per_order + slopes.journal_bytes_per_line * more_lines
    log_bytes = slopes.log_bytes_per_order + slopes.log_bytes_per_line * more_lines

    def process(part: str, cost: Drivers, done: Drivers = per_order, name: str = "CPU of a process") -> Limit:
        return Limit(name, f"cpu_us.{part}", rate * cost.times(done) * US, PROCESS_CORES, "cores")

    def machine(part: str, cost: Drivers, copies: int) -> Limit:
        need = rate * cost.times(per_order) * US * copies
        return Limit("CPU of a machine", f"cpu_us.{part}", need, float(load.cores), "cores", cost.second * US)

    def disk(slope: str, kept_bytes: float) -> Limit:
        return Limit(DISK, slope, kept_bytes / GB, load.disk_gb, "GB")

    return (
        Part(GATEWAYS, (process("gateway", cpu.gateway),)),
        Part(STOCKDS, (process("stockd", cpu.stockd),), least=counts.owners),
        Part(
            OWNERS,
            (
                Limit(
                    "CPU of a process, besides its share of the other SKUs",
                    "cpu_us.stockd",
                    stockd_cores * hot,
                    PROCESS_CORES,
                    "cores",
                    stockd_cores * (1 - hot) / counts.stockds,
                ),
            ),
            most=MAX_OWNERS,
        ),
        Part(
            JOURNALS,
            (
                machine("postgres", cpu.postgres, 1),
                Limit("what one database took", "journal_orders_per_s", rate, slopes.journal_orders_per_s, "orders/s"),
                process("relay", cpu.relay, hurried, "CPU of its one relay"),
                disk("journal_bytes_per_order", peak_orders * load.journal_days * journal_bytes),
            ),
        ),
        Part(PARTITIONS, _partition_limits(load, slopes), most=SLOT_COUNT),
        Part(
            CONSUMERS,
            (
                Limit(
                    "CPU of a process",
                    "consumer_us_per_event",
                    (rate + load.lines_per_s) * slopes.consumer_us_per_event * US,
                    PROCESS_CORES,
                    "cores",
                ),
            ),
        ),
        Part(
            BROKERS,
            (
                machine("kafka", cpu.kafka, load.log_copies),
                disk("log_bytes_per_order", peak_orders * load.log_days * log_bytes * load.log_copies),
            ),
            least=load.log_copies,
        ),
        Part(
            NODES,
            (
                machine("cassandra", cpu.cassandra, load.ledger_copies),
                Limit(
                    "what one node took",
                    "ledger_writes_per_s",
                    rate * per_order.conditional_writes * load.ledger_copies,
                    slopes.ledger_writes_per_s,
                    "writes/s",
                ),
                disk("ledger_bytes_per_sku", load.skus * slopes.ledger_bytes_per_sku * load.ledger_copies),
            ),
            least=load.ledger_copies,
        ),
        *_ledger_row(load, counts, slopes, per_order),
    )


def _partition_limits(load: Load, slopes: Slopes) -> tuple[Limit, ...]:
    """A SKU's events are all in one partition of stock-changed, which one producer after the other fills and one
    process empties.
    """
    others, hottest = load.lines_per_s - load.hottest_per_s, load.hottest_per_s
    filled, emptied = slopes.partition_events_per_s, slopes.consumer_events_per_s
    return (
        Limit("what one took, the hottest SKU's in it", "partition_events_per_s", others, filled, "events/s", hottest),
        Limit("what its consumer handled", "consumer_events_per_s", others, emptied, "events/s", hottest),
    )


def _ledger_row(load: Load, counts: Counts, slopes: Slopes, per_order: Drivers) -> tuple[Part, ...]:
    """Under `exact` it is no limit: the more orders wait for a write, the more orders the next one serves."""
    if load.policy is Policy.EXACT:
        return ()
    alone = counts.owners == 1
    slope = "sku_writes_per_s" if alone else "contended_sku_writes_per_s"
    each = slopes.sku_writes_per_s if alone else slopes.contended_sku_writes_per_s
    need = sku_writes_per_s(load, counts, slopes, load.hottest_per_s, counts.owners, per_order.group)
    return (Part(LEDGER_ROW, (Limit("conditional writes to one SKU", slope, need, each, "writes/s"),), most=1),)
