"""A shop in memory behind the queue: units to sell, a journal, and what may be wrong with them; and its auditor."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from audit.checks import Finding
from audit.fcfs import Decision, Sales, check_queue
from consumers.queue import STANDS, Answer, Queue, Refused, Stock, Undecided
from journal.protocol import Committed, OrdersExist, RejectionBatch
from sluice.errors import JournalUnreachable
from sluice.model import Line, NewOrder, Order, OrderState
from sluice.order_requests import TYPE_ORDER_REQUESTED, OrderRequest, encode_request, queue_key, request_event_id
from sluice.seams.event_log import NO_JOURNAL, TOPIC_ORDER_REQUESTED, Event, LoggedEvent, Position

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def wants(number: int, **units: int) -> NewOrder:
    lines = tuple(Line(sku, quantity) for sku, quantity in sorted(units.items()))
    return NewOrder(str(UUID(int=number)), "anna", lines)


def requested(orders: Sequence[NewOrder], first_offset: int = 0) -> list[LoggedEvent]:
    events = []
    for offset, order in enumerate(orders, first_offset):
        value = encode_request(*OrderRequest(order, NOW))
        event_id = request_event_id(order.order_id)
        position = Position(NO_JOURNAL, offset, 0)
        key = queue_key(order.lines)
        event = Event(TOPIC_ORDER_REQUESTED, key, value, event_id, TYPE_ORDER_REQUESTED, 0, position)
        events.append(LoggedEvent(event, 0, offset))
    return events


class Shop:
    """`units` are unsold; `hidden` of them cannot be had now: in doubt, or in the escrow of a server that died."""

    def __init__(self, **units: int) -> None:
        self.units = dict(units)
        self.restocked = dict(units)
        self.hidden: dict[str, int] = {}
        self.limited: set[str] = set()
        self.away = False
        self.journal_away = False
        self.lose_answers_of_rejections = 0
        self.orders: dict[str, Order] = {}
        self.decided: list[str] = []
        self.placed: list[str] = []
        self.decisions: dict[str, Decision] = {}
        self.changes: dict[str, list[tuple[int, int, str]]] = {}
        self.counts: dict[str, int] = {}
        self._number = 0
        self.queue = Queue(self.place, self.read_stock, self, self.count, now=lambda: NOW)

    async def handle(self, orders: Sequence[NewOrder]) -> None:
        await self.queue.handle(requested(orders))

    async def place(self, orders: Sequence[NewOrder]) -> Sequence[Answer]:
        self.placed += [order.order_id for order in orders]
        self._number += 1
        return [self._answer(order) for order in orders]

    def _answer(self, order: NewOrder) -> Answer:
        if self.away:
            return Undecided("STOCK_UNREACHABLE")
        if order.order_id in self.orders:
            return STANDS
        for sku, quantity in order.lines:
            if sku not in self.restocked:
                return Refused("SKU_NOT_FOUND", sku)
            if self.units[sku] - self.hidden.get(sku, 0) < quantity:
                return Refused("OUT_OF_STOCK", sku)
        if order.customer_id in self.limited:
            return Refused("CUSTOMER_LIMIT", order.lines[0].sku)
        self.sell(order)
        return STANDS

    def sell(self, order: NewOrder) -> None:
        for sku, quantity in order.lines:
            self.units[sku] -= quantity
            self.changes.setdefault(sku, []).append((self._number, quantity, order.order_id))
        self._stand(order, OrderState.CREATED, "", Decision(self._number))

    def take_back(self, order: NewOrder) -> None:
        """It is cancelled."""
        self._number += 1
        for sku, quantity in order.lines:
            self.units[sku] += quantity
            self.changes[sku].append((self._number, -quantity, order.order_id))

    def restock(self, sku: str, units: int) -> None:
        self.units[sku] += units
        self.restocked[sku] += units

    async def read_stock(self, sku: str) -> Stock:
        if self.journal_away:
            raise JournalUnreachable("away")
        restocked = self.restocked.get(sku, 0)
        return Stock(restocked, restocked - self.units.get(sku, 0))

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        if self.journal_away:
            raise JournalUnreachable("away")
        return {each: self.orders[each] for each in order_ids if each in self.orders}

    async def reject(self, batch: RejectionBatch) -> Committed | OrdersExist:
        if self.journal_away:
            raise JournalUnreachable("away")
        existing = {
            each.order.order_id: self.orders[each.order.order_id]
            for each in batch.rejections
            if each.order.order_id in self.orders
        }
        if existing:
            return OrdersExist(existing)
        self._number += 1
        for order, reason, sku, restocked in batch.rejections:
            wanted = sum(line.quantity for line in order.lines if line.sku == sku)
            short_of = sku if reason == "OUT_OF_STOCK" else None
            self._stand(order, OrderState.REJECTED, reason, Decision(self._number, short_of, wanted, restocked))
        if self.lose_answers_of_rejections:
            self.lose_answers_of_rejections -= 1
            raise JournalUnreachable("no answer", outcome_unknown=True)
        return Committed()

    def _stand(self, order: NewOrder, state: OrderState, reason: str, decision: Decision) -> None:
        assert order.order_id not in self.orders
        self.orders[order.order_id] = Order(
            order.order_id, order.customer_id, order.lines, state, NOW, NOW, 1, None, reason
        )
        self.decided.append(order.order_id)
        self.decisions[order.order_id] = decision

    def count(self, outcome: str, orders: int) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + orders

    def outcomes(self, orders: Sequence[NewOrder]) -> list[str]:
        """CREATED, or why not; `-` while it is not decided."""
        found = [self.orders.get(order.order_id) for order in orders]
        return ["-" if order is None else order.reason or order.state.name for order in found]

    def audit(self, orders: Sequence[NewOrder]) -> list[Finding]:
        sales = {sku: Sales(changes) for sku, changes in self.changes.items()}
        queues: dict[str, dict[str, None]] = {}
        for order in orders:
            queues.setdefault(queue_key(order.lines), {})[order.order_id] = None
        return [each for queue in queues.values() for each in check_queue(list(queue), self.decisions, sales)]
