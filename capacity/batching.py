"""How often each thing is done for one order: what batches form when so many processes share a load.

Batches form by themselves (`sluice/coalescer.py`): who waits travels together, and everything waits for about as long
as a group takes. So a batch is as large as what comes to one place within that time, and the more processes share a
load the less comes to each place. That is what makes a large installation dearer for each order than a small one.
"""

import math
from dataclasses import dataclass

from capacity.load import Load, Policy
from capacity.slopes import Drivers, Slopes
from gateway.committing import MAX_ORDERS_PER_TRANSACTION
from gateway.placing import MAX_ORDERS_PER_RESERVE
from stockd.appetite import AVERAGED_OVER_S, REFILLS_PER_HORIZON, horizon_s

CONNECTIONS = 3
"""Transactions that a gateway has in flight at one journal: the default of its `journal_connections`."""

LINGER_S = 0.05
"""For so long the relay's Kafka client collects the events of a partition (`relay/kafka_publisher.py`)."""

MOST_ROUTES = 1_000_000_000
"""Ways over several stock servers that carts may take. So many or more: no two carts ever share one."""


@dataclass(frozen=True)
class Counts:
    """`owners`: stock servers over which the hottest SKU is spread. `partitions` of each topic."""

    gateways: int = 1
    stockds: int = 1
    owners: int = 1
    journals: int = 1
    partitions: int = 1


def drivers(load: Load, counts: Counts, slopes: Slopes, group_s: float) -> Drivers:
    """For one order of the load. `group_s`: how long orders gather at each step."""
    lanes = counts.gateways * counts.journals
    servers = distinct(load.lines_per_order, counts.stockds)
    hot_orders = min(1.0, load.hottest_share * load.lines_per_order)
    # Orders with the hottest SKU meet at its owners; the others divide over the routes of all servers.
    hot_size = _size(load.orders_per_s * hot_orders / lanes / counts.owners, group_s, load, counts)
    routes = min(math.comb(counts.stockds, round(servers)), MOST_ROUTES)
    cold_size = _size(load.orders_per_s * (1 - hot_orders) / lanes / routes, group_s, load, counts)
    group = servers * (hot_orders / hot_size + (1 - hot_orders) / cold_size)
    size = servers / group
    transaction_size = load.orders_per_s / lanes * group_s / CONNECTIONS
    transaction = 1 / min(max(transaction_size, size), MAX_ORDERS_PER_TRANSACTION)
    writes = writes_per_s(load, counts, slopes, group) / load.orders_per_s
    return Drivers(
        order=1.0,
        line=load.lines_per_order - 1.0,
        message=1 / load.stream_batch if load.stream_batch else 0.0,
        call=0.0 if load.stream_batch else 1.0,
        group=group,
        entry=entries_per_group(load, counts, size) * group,
        **of_policy(load.policy, writes),
        transaction=transaction,
        log_batch=log_batches_per_s(load, counts) / load.orders_per_s,
    )


def of_policy(policy: Policy, writes: float) -> dict[str, float]:
    """Conditional writes for an order as drivers: under `exact` every order waits for one."""
    return {"fetch": writes, "waiting": 1.0} if policy is Policy.EXACT else {"write": writes}


def distinct(picks: float, places: float) -> float:
    """How many of so many places are met by so many picks."""
    if places <= 1:
        return 1.0 if picks > 0 else 0.0
    return places * -math.expm1(picks * math.log1p(-1 / places))


def _size(per_s: float, group_s: float, load: Load, counts: Counts) -> float:
    """Orders in a group: those of one message that take the same way, or all that come meanwhile if these are more."""
    of_a_message = load.stream_batch / counts.stockds / counts.journals
    return min(max(1.0, of_a_message, per_s * group_s), MAX_ORDERS_PER_RESERVE)


def entries_per_group(load: Load, counts: Counts, size: float) -> float:
    """Different SKUs among the lines that one stock server has in a group of `size` orders."""
    lines = size * load.lines_per_order / distinct(load.lines_per_order, counts.stockds)
    skus = max(1.0, load.skus / counts.stockds)
    if skus <= 1:
        return 1.0
    hot = load.hottest_share * lines
    return min(1.0, hot) + distinct(lines - hot, skus - 1)


def writes_per_s(load: Load, counts: Counts, slopes: Slopes, group: float) -> float:
    """Conditional writes of all stock servers together."""
    others = (load.skus - 1) * sku_writes_per_s(load, counts, slopes, load.other_per_s, 1, group)
    return others + sku_writes_per_s(load, counts, slopes, load.hottest_per_s, counts.owners, group)


def sku_writes_per_s(
    load: Load, counts: Counts, slopes: Slopes, lines_per_s: float, owners: int, group: float
) -> float:
    """For one SKU with so many `owners`, each of which has one write in flight at most.

    `exact`: each group that has the SKU makes one, unless another one is in flight: then all that wait share the next.
    `escrow`: so many in the time that is taken ahead for, or one for each line where that is less.
    """
    if load.policy is Policy.EXACT:
        return min(load.orders_per_s * group, lines_per_s, owners * slopes.sku_writes_per_s)
    return min(lines_per_s, owners * REFILLS_PER_HORIZON / _ahead_s(load, counts))


def _ahead_s(load: Load, counts: Counts) -> float:
    """As `stockd/appetite.py` has it: the more SKUs a server is asked for, the longer ahead it takes of each."""
    asked_for = load.skus / counts.stockds * -math.expm1(-load.other_per_s * AVERAGED_OVER_S)
    return horizon_s(asked_for, math.ceil(counts.stockds))


def log_batches_per_s(load: Load, counts: Counts) -> float:
    """What relays send to partitions together. All journals have events for every partition of stock-changed that has a
    SKU; of a partition of order-created only some, where their numbers divide.
    """
    created = counts.partitions * counts.journals / math.gcd(counts.partitions, counts.journals)
    changed = distinct(load.skus, counts.partitions) * counts.journals
    return min(load.orders_per_s, created / LINGER_S) + min(load.lines_per_s, changed / LINGER_S)
