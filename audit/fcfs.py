"""First come, first served, checked from the log afterwards.

The queue of a key is the log of who came first: of the orders of that key, in the order of their offsets. An order of
it may be turned away for want of units only when it was its turn, and only if its units were not there then:

* every order before it in its queue was decided before it, or together with it;
* at some moment after the last decision before it, and not after its own, fewer units than it wanted were unsold. Units
  that went to orders behind it in its queue count as unsold: they were its own to have;
* nobody is passed over: no order is left undecided while orders behind it are decided.

What was sold at which moment the journal's positions say, by `order-created` and `order-cancelled`; restocks are not
events, so a rejection says how much had been restocked when it was decided, which the ledger must bear out. Direct
orders, and carts whose queue is another SKU's, are free to take units in between, and units that come back after a
rejection are for those who come after it.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate
from typing import NamedTuple

from audit.checks import Finding
from journal.protocol import Journal
from sluice._gen.events.v1.events_pb2 import OrderCancelled, OrderCreated, OrderRejected
from sluice.seams.event_log import (
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_CREATED,
    TOPIC_ORDER_REJECTED,
    TOPIC_ORDER_REQUESTED,
    EventLog,
    LoggedEvent,
)
from sluice.seams.stock_store import Consistency, StockStore

INVARIANT = "FCFS"
OUT_OF_STOCK = "OUT_OF_STOCK"

RECHECKS = 5
RECHECK_PAUSE_S = 1.0
"""Orders that are just being decided look passed over for a moment."""

LOOK_UP_ORDERS = 1_000


class Decision(NamedTuple):
    """What became of a queued order, in the journal's transaction `number`. `short_of` is the SKU for want of which it
    was turned away, of which it wanted `wanted` units and `restocked` had ever been there; None: it was not, for that.
    """

    number: int
    short_of: str | None = None
    wanted: int = 0
    restocked: int = 0


class Sales:
    """Units of one SKU that were sold, less those that came back, by the number of the journal's transaction."""

    def __init__(self, changes: Sequence[tuple[int, int, str]]) -> None:
        """(number, units, order id); units are negative where they came back."""
        self._changes = sorted(changes)
        self._numbers = [number for number, *_ in self._changes]
        self._sums = [0, *accumulate(units for _, units, _ in self._changes)]

    def most_sold(self, first: int, last: int, without: AbstractSet[str]) -> int:
        """The most that was sold at any moment from transaction `first` to `last`, to others than these orders."""
        begin, end = bisect_right(self._numbers, first), bisect_right(self._numbers, last)
        sums = self._sums
        if without:
            sums = [0, *accumulate(0 if order_id in without else units for _, units, order_id in self._changes[:end])]
        return max(sums[begin : end + 1])


NOTHING_SOLD = Sales([])


def check_queue(queue: Sequence[str], decisions: Mapping[str, Decision], sales: Mapping[str, Sales]) -> list[Finding]:
    """`queue`: the order ids of one key, as they came."""
    findings = []
    turn = _Turn()
    behind = _Behind(queue, decisions)
    for place, order_id in enumerate(queue):
        decision = decisions.get(order_id)
        if decision is None:
            continue
        if decision.short_of is not None:
            if decision.number < turn.last:
                findings.append(
                    Finding(INVARIANT, order_id, f"turned away in {decision.number}, before its turn, {turn.last}")
                )
            of_sku = sales.get(decision.short_of, NOTHING_SOLD)
            begin = turn.begin(decision.number)
            sold = of_sku.most_sold(begin, decision.number, behind.decided_by(place, decision.number))
            if (unsold := decision.restocked - sold) >= decision.wanted:
                findings.append(
                    Finding(
                        INVARIANT,
                        order_id,
                        f"turned away for want of {decision.wanted} units of {decision.short_of}"
                        f" when it had {unsold} that nobody before it had taken",
                    )
                )
        turn.decided(decision.number)
    return findings


def passed_over(queue: Sequence[str], decisions: Mapping[str, Decision]) -> list[str]:
    """Orders of a queue that are not decided, while one behind them is."""
    decided = [place for place, order_id in enumerate(queue) if order_id in decisions]
    return [order_id for order_id in queue[: decided[-1]] if order_id not in decisions] if decided else []


class _Turn:
    """How far a queue is, as its orders are gone through."""

    def __init__(self) -> None:
        self.last = 0
        """The highest number of a decision so far."""
        self._before_last = 0

    def begin(self, number: int) -> int:
        """From when on it is the turn of an order that was decided in `number`. Those that were decided in one
        transaction had their turns at one moment, after what was decided before it.
        """
        return self.last if number > self.last else self._before_last

    def decided(self, number: int) -> None:
        if number > self.last:
            self._before_last, self.last = self.last, number


class _Behind:
    """Orders of a queue that were decided before others that came before them."""

    def __init__(self, queue: Sequence[str], decisions: Mapping[str, Decision]) -> None:
        self._queue = queue
        self._decisions = decisions
        numbers = [decisions[each].number if each in decisions else None for each in queue]
        # The lowest number of a decision from each place on.
        self._lowest: list[int | None] = [None] * (len(queue) + 1)
        for place in range(len(queue) - 1, -1, -1):
            known = [number for number in (numbers[place], self._lowest[place + 1]) if number is not None]
            self._lowest[place] = min(known, default=None)

    def decided_by(self, place: int, number: int) -> AbstractSet[str]:
        lowest = self._lowest[place + 1]
        if lowest is None or lowest > number:
            return frozenset()
        behind = self._queue[place + 1 :]
        return {each for each in behind if each in self._decisions and self._decisions[each].number <= number}


class FcfsReport(NamedTuple):
    findings: Sequence[Finding]
    queues: int
    requests: int
    accepted: int
    rejected: int
    undecided: int


async def audit_fcfs(log: EventLog, journal: Journal, store: StockStore) -> FcfsReport:
    """Reads the queue, then what became of its orders. The system may be running; what it is just deciding is not
    judged. Raises LogUnreachable, JournalUnreachable, StoreUnreachable, and what a log raises for a record that it
    cannot read.
    """
    queues = await _queues(log)
    events = _Events()
    for topic in (TOPIC_ORDER_CANCELLED, TOPIC_ORDER_REJECTED, TOPIC_ORDER_CREATED):
        async for logged in log.read(topic, follow=False):
            if logged.event.position.journal == journal.journal_id:
                events.add(logged)
    sales = {sku: Sales(changes) for sku, changes in events.changes.items()}
    findings: list[Finding] = []
    for queue in queues:
        findings += check_queue(queue, events.decisions, sales)
    findings += await _check_passed_over(queues, events.decisions, journal)
    findings += await _check_restocks(events.decisions, store)
    known = [events.decisions[order_id] for queue in queues for order_id in queue if order_id in events.decisions]
    rejected = sum(order_id in events.rejected for queue in queues for order_id in queue)
    total = sum(map(len, queues))
    return FcfsReport(findings, len(queues), total, len(known) - rejected, rejected, total - len(known))


async def _queues(log: EventLog) -> list[list[str]]:
    """Order ids by key, as they came; of an id that came more than once the first counts."""
    queues: dict[tuple[int, str], list[str]] = {}
    seen: set[str] = set()
    async for event, partition, _ in log.read(TOPIC_ORDER_REQUESTED, follow=False):
        order_id = event.event_id.partition("/")[0]
        if order_id not in seen:
            seen.add(order_id)
            queues.setdefault((partition, event.key), []).append(order_id)
    return list(queues.values())


class _Events:
    """Decisions and sales as the log tells them; what it repeats counts once."""

    def __init__(self) -> None:
        self.decisions: dict[str, Decision] = {}
        self.rejected: set[str] = set()
        self.changes: dict[str, list[tuple[int, int, str]]] = {}
        self._ended: set[str] = set()

    def add(self, logged: LoggedEvent) -> None:
        event = logged.event
        order_id, number = event.key, event.position.number
        match event.topic:
            case topic if topic == TOPIC_ORDER_CREATED:
                if order_id not in self.decisions:
                    self.decisions[order_id] = Decision(number)
                    self._change(OrderCreated.FromString(event.value), number, 1)
            case topic if topic == TOPIC_ORDER_CANCELLED:
                if order_id not in self._ended:
                    self._ended.add(order_id)
                    self._change(OrderCancelled.FromString(event.value), number, -1)
            case _:
                self.rejected.add(order_id)
                self.decisions[order_id] = _rejection(OrderRejected.FromString(event.value), number)

    def _change(self, message: OrderCreated | OrderCancelled, number: int, sign: int) -> None:
        for line in message.lines:
            self.changes.setdefault(line.sku, []).append((number, sign * line.quantity, message.order_id))


def _rejection(message: OrderRejected, number: int) -> Decision:
    if message.reason != OUT_OF_STOCK:
        return Decision(number)
    wanted = sum(line.quantity for line in message.lines if line.sku == message.sku)
    return Decision(number, message.sku, wanted, message.restocked)


async def _check_passed_over(
    queues: Sequence[Sequence[str]], decisions: Mapping[str, Decision], journal: Journal
) -> list[Finding]:
    """What the log does not know may be decided in the journal by now."""
    left = [order_id for queue in queues for order_id in passed_over(queue, decisions)]
    for recheck in range(RECHECKS):
        left = [order_id async for order_id in _not_standing(left, journal)]
        if not left:
            return []
        if recheck < RECHECKS - 1:
            await asyncio.sleep(RECHECK_PAUSE_S)
    return [Finding(INVARIANT, order_id, "is not decided, and orders behind it are") for order_id in left]


async def _not_standing(order_ids: Sequence[str], journal: Journal) -> AsyncIterator[str]:
    for at in range(0, len(order_ids), LOOK_UP_ORDERS):
        some = order_ids[at : at + LOOK_UP_ORDERS]
        standing = await journal.find_orders(some)
        for order_id in some:
            if order_id not in standing:
                yield order_id


async def _check_restocks(decisions: Mapping[str, Decision], store: StockStore) -> list[Finding]:
    """No rejection may know of more restocks than there are. (One that knew of fewer was decided before the others, or
    after units were withdrawn.)
    """
    most: dict[str, tuple[int, str]] = {}
    for order_id, decision in decisions.items():
        if decision.short_of is not None:
            most[decision.short_of] = max(most.get(decision.short_of, (0, "")), (decision.restocked, order_id))
    findings = []
    for sku, (claimed, order_id) in most.items():
        ledger = await store.read(sku, Consistency.QUORUM)
        restocked = sum(units for units in ledger.restocks.values() if units > 0) if ledger else 0
        if claimed > restocked:
            findings.append(
                Finding(INVARIANT, order_id, f"its rejection knows of {claimed} units of {sku}; {restocked} ever were")
            )
    return findings
