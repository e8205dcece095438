"""Placing handed to the queue: the same that a gateway has, without a gateway around it."""

import math
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter

from commands.front import utc_now
from commands.own_consumer_names import QUEUE
from consumers.queue import STANDS, Answer, Queue, Refused, Stock, Undecided
from consumers.runtime.handling import Consumer
from gateway import outcomes
from gateway.committing import Committing
from gateway.keepers import Keepers
from gateway.metrics import Timed, latencies
from gateway.outcomes import FINAL_REASONS, Accepted, Outcome, Reason
from gateway.placing import Placing
from journal.protocol import Journal
from sluice.errors import Overloaded
from sluice.model import NewOrder
from sluice.reachability import Reachability
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED
from sluice.seams.stock_store import Consistency, StockStore

MAX_ORDERS_IN_FLIGHT = 50_000
"""Above what a consumer has in hand: only a fuse."""


class QueueParts(NamedTuple):
    """The consumer, and what must run beside it for ever."""

    consumer: Consumer
    watch_journal: Callable[[], Coroutine[Any, Any, None]]


class QueueMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._decided = Counter(
            "sluice_queue_orders", "Queued orders that this process has decided", ["outcome"], registry=registry
        )
        self._undecided = Counter(
            "sluice_queue_tries_in_vain",
            "Times that a queued order could not be decided, by what was away",
            ["reason"],
            registry=registry,
        )
        self.reserve_seconds: Timed = latencies(
            registry,
            "sluice_queue_reserve_seconds",
            "One group of queued orders, until its stock servers have answered",
        )
        self.commit_seconds: Timed = latencies(
            registry,
            "sluice_queue_commit_seconds",
            "One group of queued orders, from its reservation until the journal has it",
        )

    def count(self, outcome: str, orders: int) -> None:
        self._decided.labels(outcome.lower()).inc(orders)

    def decided(self, outcomes: Sequence[Outcome]) -> None:
        """Each answer of placing; what is final is counted when it stands."""
        for outcome in outcomes:
            if not isinstance(outcome, Accepted) and outcome.reason not in FINAL_REASONS:
                self.refused(outcome.reason, 1)

    def refused(self, reason: Reason, orders: int) -> None:
        self._undecided.labels(reason.value.lower()).inc(orders)


def queue_parts(
    links: Keepers,
    journal: Journal,
    store: StockStore,
    registry: CollectorRegistry,
    *,
    reserve_limit_s: float,
    journal_connections: int,
) -> QueueParts:
    metrics = QueueMetrics(registry)
    reach = Reachability("journal", journal.ping)
    placing = Placing(
        links,
        journal,
        Committing(journal, reach, now=utc_now, connections=journal_connections),
        reach,
        monotonic=time.monotonic,
        reserve_limit_s=reserve_limit_s,
        max_orders_in_flight=MAX_ORDERS_IN_FLIGHT,
        metrics=metrics,
    )
    queue = Queue(partial(place, placing), partial(read_stock, store, journal), journal, metrics.count, now=utc_now)
    return QueueParts(Consumer(QUEUE, [TOPIC_ORDER_REQUESTED], queue.handle), reach.watch)


async def place(placing: Placing, orders: Sequence[NewOrder]) -> Sequence[Answer]:
    """See `consumers.queue.Place`. Orders of a queue have no deadline."""
    try:
        groups = placing.submit(orders, math.inf)
    except Overloaded:
        return [Undecided(Reason.OVERLOADED.value)] * len(orders)
    answers: dict[str, Answer] = {}
    for group in groups:
        for order, outcome in zip(group.orders, await group.decided(), strict=True):
            answers[order.order_id] = _answer(outcome)
    return [answers[order.order_id] for order in orders]


def _answer(outcome: Outcome) -> Answer:
    match outcome:
        case Accepted() | outcomes.Refused(Reason.ORDER_ID_REUSED):
            return STANDS
        case outcomes.Refused(reason, sku) if reason in FINAL_REASONS:
            return Refused(reason.value, sku)
        case outcomes.Refused(reason):
            return Undecided(reason.value)


async def read_stock(store: StockStore, journal: Journal, sku: str) -> Stock:
    """What was sold is read first: restocks only add up, so at that moment no more were unsold than this says, but for
    what was withdrawn since and is not for sale any more.
    """
    sold = (await journal.sold([sku])).get(sku, 0)
    ledger = await store.read(sku, Consistency.STRONG)
    return Stock(sum(ledger.restocks.values()) if ledger else 0, sold)
