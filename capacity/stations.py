"""The stations that a simulated order passes, and what it costs at each."""

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from capacity.batching import Counts
from capacity.limits import (
    BROKERS,
    CONSUMERS,
    GATEWAYS,
    JOURNALS,
    NODES,
    PARTITIONS,
    PROCESS_CORES,
    RELAYS,
    STOCKDS,
    US,
)
from capacity.load import Load
from capacity.planning import Plan
from capacity.slopes import Drivers, Slopes
from gateway.committing import MAX_ORDERS_PER_TRANSACTION
from gateway.placing import MAX_ORDERS_PER_RESERVE
from relay.relaying import CHUNK_EVENTS
from sluice.model import MAX_ORDERS_PER_BATCH


@dataclass(slots=True)
class Wave:
    """Orders that go together for as long as they are simulated. `hot`: they are for the hottest SKU."""

    hot: bool
    gateway: int
    journal: int
    partition: int
    entered: float = 0.0
    waited_s: float = 0.0


class Station:
    """Servers with a queue each. `choose` finds a wave's server, which takes at most `most_orders` at once, works
    `order_s` for each order, and is not free again before `least_s`: so long it may wait for a disk.
    """

    def __init__(
        self, name: str, servers: int, choose: Callable[[Wave], int], most_orders: float, least_s: float = 0.0
    ) -> None:
        self.name = name
        self.choose = choose
        self.most_orders = most_orders
        self.least_s = least_s
        self.order_s = 0.0
        self.queues: list[deque[Wave]] = [deque() for _ in range(servers)]
        self.working = [False] * servers
        self.forget()

    def forget(self) -> None:
        """What was counted so far."""
        servers = len(self.queues)
        self.busy_s = [0.0] * servers
        self.waited_s = [0.0] * servers
        self.passed = [0] * servers

    def longest_wait_s(self, now: float) -> float:
        """Mean wait at the server where it is longest. Who still waits counts with the time that it has waited."""
        return max(
            (waited_s + sum(now - wave.entered for wave in queue)) / max(1, passed + len(queue))
            for waited_s, passed, queue in zip(self.waited_s, self.passed, self.queues, strict=True)
        )


def in_turn(servers: int, chance: random.Random) -> Iterator[int]:
    """Each server once, in an order of chance, over and over: a wave stands for many orders, and by chance alone these
    would not all meet at one server.
    """
    return itertools.cycle(chance.sample(range(servers), servers))


def stations_of(planned: Plan, slopes: Slopes, chance: random.Random) -> list[Station]:
    """In the order in which orders pass them. Those behind the journal pass when the order is answered already."""
    counts = planned.counts
    nodes, brokers, consumers = (planned.line(part).count for part in (NODES, BROKERS, CONSUMERS))
    owner, stockd = in_turn(counts.owners, chance), in_turn(counts.stockds, chance)
    node, broker, consumer = in_turn(nodes, chance), in_turn(brokers, chance), in_turn(consumers, chance)
    return [
        Station(GATEWAYS, counts.gateways, lambda wave: wave.gateway, MAX_ORDERS_PER_BATCH),
        Station(STOCKDS, counts.stockds, lambda wave: next(owner if wave.hot else stockd), MAX_ORDERS_PER_RESERVE),
        Station(
            JOURNALS, counts.journals, lambda wave: wave.journal, MAX_ORDERS_PER_TRANSACTION, slopes.synced_write_s
        ),
        Station(NODES, nodes, lambda _: next(node), MAX_ORDERS_PER_TRANSACTION),
        Station(RELAYS, counts.journals, lambda wave: wave.journal, CHUNK_EVENTS),
        Station(BROKERS, brokers, lambda _: next(broker), MAX_ORDERS_PER_TRANSACTION),
        Station(PARTITIONS, counts.partitions, lambda wave: wave.partition, MAX_ORDERS_PER_TRANSACTION),
        Station(CONSUMERS, consumers, lambda _: next(consumer), MAX_ORDERS_PER_TRANSACTION),
    ]


def order_seconds(load: Load, slopes: Slopes, per_order: Drivers) -> dict[str, float]:
    """For how long an order keeps one server of each station at work."""
    cpu = slopes.cpu_us
    return {
        GATEWAYS: cpu.gateway.times(per_order) * US / PROCESS_CORES,
        STOCKDS: cpu.stockd.times(per_order) * US / PROCESS_CORES,
        JOURNALS: max(cpu.postgres.times(per_order) * US / load.cores, 1 / slopes.journal_orders_per_s),
        NODES: load.ledger_copies
        * max(
            cpu.cassandra.times(per_order) * US / load.cores,
            per_order.conditional_writes / slopes.ledger_writes_per_s,
        ),
        RELAYS: cpu.relay.times(per_order) * US / PROCESS_CORES,
        BROKERS: cpu.kafka.times(per_order) * US * load.log_copies / load.cores,
        PARTITIONS: load.lines_per_order / min(slopes.partition_events_per_s, slopes.consumer_events_per_s),
        CONSUMERS: (1 + load.lines_per_order) * slopes.consumer_us_per_event * US / PROCESS_CORES,
    }


def servers_for(counts: Counts) -> int:
    """So many places in all; waves must be many beside them."""
    return max(counts.gateways, counts.stockds, counts.journals, counts.partitions)
