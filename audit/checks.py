"""The invariants of a sale, checked over plain data.

Each check says what must have been read before what: then a system that is still selling gives no false alarm, and
one that is quiet is checked exactly.
"""

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple
from uuid import UUID

from audit.expected import FIRST_EVENT, ExpectedOrders, changed_content, created_content, rejected_content
from journal.protocol import IncarnationRow
from sluice._gen.events.v1.events_pb2 import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    OrderValidated,
    StockChanged,
)
from sluice.counting import UNCOUNTED_CAP, closed_sellers, drift, max_oversell
from sluice.model import HOLDS_UNITS, Order, OrderState, StockPolicy
from sluice.seams.event_log import (
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CREATED,
    TOPIC_ORDER_REJECTED,
    TOPIC_ORDER_VALIDATED,
    TOPIC_STOCK_CHANGED,
    Event,
    Position,
)
from sluice.seams.stock_store import Counts, Ledger

UnitsBySku = Mapping[str, int]

Match = tuple[int, int]
"""(place of an order among the expected ones, bit of what an event tells of it)"""

STATE_EVENTS: Mapping[str, type[OrderValidated | OrderConfirmed | OrderCancelled]] = {
    TOPIC_ORDER_VALIDATED: OrderValidated,
    TOPIC_ORDER_CONFIRMED: OrderConfirmed,
    TOPIC_ORDER_CANCELLED: OrderCancelled,
}
STATES_TOLD = {
    TOPIC_ORDER_VALIDATED: frozenset({OrderState.VALIDATED}),
    TOPIC_ORDER_CONFIRMED: frozenset({OrderState.CONFIRMED}),
    TOPIC_ORDER_CANCELLED: frozenset({OrderState.CANCELLED, OrderState.EXPIRED}),
}


class Finding(NamedTuple):
    """`invariant` as the design names it, `subject` the order, SKU or record that is wrong."""

    invariant: str
    subject: str
    message: str


class HeldUnits(NamedTuple):
    """Units that an incarnation took and, as far as the journal says, did not sell: in escrow, or sold by a commit
    that is on its way. `stranded`: it is fenced or unknown, so nobody can sell them until they are folded back.
    """

    sku: str
    incarnation: UUID
    name: str | None
    units: int
    stranded: bool


def check_ledger(ledger: Ledger, spends: Mapping[UUID, UnitsBySku]) -> list[Finding]:
    """I1 and I2 of one SKU. `spends` are the lesser of those read before and after the ledger: units are taken before
    they are sold, and come back before they are given back. Of a SKU with the policy `counter` nothing is taken;
    `check_counts` says what holds for it.
    """
    findings = []
    sku = ledger.sku
    restocked = sum(ledger.restocks.values())
    taken = sum(row.units for row in ledger.held.values())
    sold = sum(units.get(sku, 0) for units in spends.values())
    counter = ledger.policy is StockPolicy.COUNTER
    if sold > restocked and not counter:
        findings.append(Finding("I1", sku, f"{sold} units are sold, {restocked} were ever there"))
    if restocked != ledger.available + taken:
        findings.append(
            Finding("I2", sku, f"{restocked} restocked, but {ledger.available} available + {taken} taken by servers")
        )
    if counter:
        return findings
    for incarnation, units in spends.items():
        sold_by_it = units.get(sku, 0)
        row = ledger.held.get(incarnation)
        taken_by_it = row.units if row else 0
        if sold_by_it > taken_by_it:
            findings.append(
                Finding("I2", sku, f"incarnation {incarnation} sold {sold_by_it} units but holds {taken_by_it}")
            )
    return findings


def check_counts(
    ledger: Ledger, counts: Counts, spends: Mapping[UUID, UnitsBySku], later: Mapping[UUID, UnitsBySku]
) -> list[Finding]:
    """I1, I2 and I11 of a SKU with the policy `counter`: no more is oversold, uncounted or hidden than is promised.
    `spends` are the lesser of those read before and after the counts; `later` those read after them.
    """
    findings = []
    sku = ledger.sku
    sold_by = _sold_by(spends, sku)
    restocked = sum(ledger.restocks.values())
    oversold = sum(sold_by.values()) - restocked
    bound = max_oversell(counts, restocked)
    if oversold > bound:
        findings.append(Finding("I1", sku, f"{oversold} units are sold beyond what was there; the bound is {bound}"))
    closed = closed_sellers(counts)
    selling = drift(counts, sold_by, sold_by.keys() - closed)
    # They sell no more, and were counted once and for all.
    gone = drift(counts, _sold_by(later, sku), closed)
    uncounted = {incarnation: -units for incarnation, units in selling.items() if -units > UNCOUNTED_CAP}
    uncounted |= {incarnation: -units for incarnation, units in gone.items() if units < 0}
    findings += [
        Finding("I2", sku, f"incarnation {incarnation} sold {units} units that nobody else can see")
        for incarnation, units in uncounted.items()
    ]
    findings += [
        Finding("I11", sku, f"{units} units count as sold by incarnation {incarnation}, which did not sell them")
        for incarnation, units in gone.items()
        if units > 0
    ]
    return findings


def _sold_by(spends: Mapping[UUID, UnitsBySku], sku: str) -> dict[UUID, int]:
    return {incarnation: units[sku] for incarnation, units in spends.items() if units.get(sku)}


def held_units(
    ledger: Ledger, spends: Mapping[UUID, UnitsBySku], incarnations: Mapping[UUID, IncarnationRow]
) -> list[HeldUnits]:
    """What is taken and not sold. `spends` must have been read after the ledger, or units just sold would show.

    Of a SKU with the policy `counter` nobody holds anything: units that came back to a server are in its counts.
    """
    if ledger.policy is StockPolicy.COUNTER:
        return []
    held = []
    # Units of orders that were cancelled may have come back to one that never took any, and so has no row.
    for incarnation in ledger.held.keys() | {each for each, of_it in spends.items() if of_it.get(ledger.sku, 0) < 0}:
        row = ledger.held.get(incarnation)
        units = (row.units if row else 0) - spends.get(incarnation, {}).get(ledger.sku, 0)
        if units > 0:
            known = incarnations.get(incarnation)
            held.append(
                HeldUnits(
                    ledger.sku,
                    incarnation,
                    known.name if known else None,
                    units,
                    stranded=known is None or known.fenced,
                )
            )
    return held


def check_sold_is_created(spends: Mapping[UUID, UnitsBySku], created: frozenset[str]) -> list[Finding]:
    """I2 for SKUs that have no ledger at all. `created` must have been read after the spends."""
    sold = {sku for units in spends.values() for sku, count in units.items() if count}
    return [Finding("I2", sku, "was sold but never created") for sku in sorted(sold - created)]


def check_spends(ordered: UnitsBySku, before: UnitsBySku, after: UnitsBySku) -> list[Finding]:
    """I3: what the orders say is what the spends say. `before` and `after` are the spends as read on either side of
    the orders: while a sale goes on the orders lie between them, and in a quiet system the three are equal.
    """
    findings = []
    for sku in sorted({*ordered, *before, *after}):
        units, low, high = ordered.get(sku, 0), before.get(sku, 0), after.get(sku, 0)
        if not min(low, high) <= units <= max(low, high):
            spent = str(high) if low == high else f"{low} to {high}"
            findings.append(Finding("I3", sku, f"orders hold {units} units, spends say {spent}"))
    return findings


class OrderEvents:
    """I3, I4, I6, I7 and the log's order, over streams: first every order, then the outbox's rows, then the log.

    In that order nothing is missed: an order's events are in the outbox until they are on the log.
    """

    def __init__(self) -> None:
        self._expected = ExpectedOrders()
        self._last_id = ""
        self._highest: dict[tuple[str, int, int], Position] = {}
        self._without_order: dict[str, str] = {}
        self._findings: list[Finding] = []
        self._match: Mapping[str, Callable[[Event], Match | None]] = {
            TOPIC_ORDER_CREATED: self._match_created,
            TOPIC_ORDER_REJECTED: self._match_rejected,
            TOPIC_STOCK_CHANGED: self._match_stock,
            **dict.fromkeys(STATE_EVENTS, self._match_state),
        }
        self.units_by_sku: dict[str, int] = {}
        self.orders = 0
        self.events = 0

    def order(self, order: Order) -> None:
        """Orders by ascending id."""
        order_id, _, lines, state, *_ = order
        if order_id <= self._last_id:
            self._find("I3", order_id, "stands twice, or orders came in no order")
        self._last_id = order_id
        self.orders += 1
        if state in HOLDS_UNITS:
            for sku, quantity in lines:
                self.units_by_sku[sku] = self.units_by_sku.get(sku, 0) + quantity
        self._expected.add(order)

    def waiting(self, event: Event) -> None:
        """An event of the outbox."""
        match = self._match[event.topic](event)
        if match is not None:
            self._expected.waiting.add(*match)

    def logged(self, event: Event, partition: int) -> None:
        """An event of the log; each partition's in order."""
        self.events += 1
        topic, position = event.topic, event.position
        # The number of a UUID: its own hash and comparison are written in Python.
        stream = topic, partition, position.journal.int
        highest = self._highest.get(stream)
        advances = highest is None or position > highest
        if advances:
            self._highest[stream] = position
        match = self._match[topic](event)
        if match is None:
            return
        new = self._expected.found.add(*match)
        if advances and not new:
            self._find("I4", event.event_id, f"is on the log under a second position, {_shown(position)}")
        elif new and not advances:
            self._find("I4", event.event_id, f"stands on the log behind {_shown(highest)}, which came later")

    def take_without_order(self) -> dict[str, str]:
        """Order id → an event of it, for events since the last call whose order was not among the orders: it must be
        newer than they are, or it does not exist.
        """
        taken, self._without_order = self._without_order, {}
        return taken

    def findings(self) -> Iterator[Finding]:
        yield from self._findings
        expected = self._expected
        for place in expected.incomplete():
            there, subject = expected.there(place), expected.order_id(place)
            if not there & FIRST_EVENT:
                rejected = expected.state(place) is OrderState.REJECTED
                topic = TOPIC_ORDER_REJECTED if rejected else TOPIC_ORDER_CREATED
                yield Finding("I4", subject, f"its {topic} is neither on the log nor waiting")
            for version in range(2, expected.version(place) + 1):
                if not there & expected.bit_of_version(place, version):
                    yield Finding("I4", subject, f"no event tells how it came to version {version}")
            lines = range(expected.line_count(place))
            if missing := [line for line in lines if not there & expected.bit_of_line(line)]:
                yield Finding("I6", subject, f"{len(missing)} of its {len(lines)} lines have no stock-changed")
            lines = range(expected.returned_count(place))
            if missing := [line for line in lines if not there & expected.bit_of_return(place, line)]:
                yield Finding("I6", subject, f"no stock-changed tells that {len(missing)} of its lines came back")

    # Each of these says which order an event tells of, by its place, and the bit of what it tells; None and a finding
    # if it tells wrong. None alone if it tells what has become of the order since it was read.

    def _match_created(self, event: Event) -> Match | None:
        created = OrderCreated.FromString(event.value)
        place = self._place_of(created.order_id, event)
        if place is None:
            return None
        content = created_content(created.customer_id, _lines(created), event.time_ms)
        return self._match_first(event, place, content)

    def _match_rejected(self, event: Event) -> Match | None:
        rejected = OrderRejected.FromString(event.value)
        place = self._place_of(rejected.order_id, event)
        if place is None:
            return None
        content = rejected_content(rejected.customer_id, _lines(rejected), event.time_ms, rejected.reason)
        return self._match_first(event, place, content)

    def _match_first(self, event: Event, place: int, content: int) -> Match | None:
        """The event with which an order began."""
        if self._expected.says(place, content):
            return place, FIRST_EVENT
        self._find("I6", event.key, f"event {event.event_id} does not say what the order says")
        return None

    def _match_stock(self, event: Event) -> Match | None:
        changed = StockChanged.FromString(event.value)
        order_id, version = changed.order_id, changed.order_version
        place = self._place_of(order_id, event)
        if place is None or version > self._expected.version(place):
            return None
        bit = self._expected.bit_of_change(place, changed_content(changed.sku, changed.delta, version, event.time_ms))
        if bit is None:
            self._find("I6", order_id, f"event {event.event_id} is of no line of the order")
            return None
        return place, bit

    def _match_state(self, event: Event) -> Match | None:
        moved = STATE_EVENTS[event.topic].FromString(event.value)
        place = self._place_of(moved.order_id, event)
        if place is None or moved.version > self._expected.version(place):
            return None
        last = moved.version == self._expected.version(place)
        ended = event.topic == TOPIC_ORDER_CANCELLED
        if moved.version < 2 or (self._expected.state(place) not in STATES_TOLD[event.topic] if last else ended):
            self._find("I7", moved.order_id, f"event {event.event_id} says {event.topic}: the order has come elsewhere")
            return None
        return place, self._expected.bit_of_version(place, moved.version)

    def _place_of(self, order_id: str, event: Event) -> int | None:
        place = self._expected.place_of(order_id)
        if place is None:
            self._without_order[order_id] = event.event_id
        return place

    def _find(self, invariant: str, subject: str, message: str) -> None:
        self._findings.append(Finding(invariant, subject, message))


def check_orders_exist(events_by_order: Mapping[str, str], existing: AbstractSet[str]) -> list[Finding]:
    """I4: no event without an order. `existing` must have been looked up after the events were read."""
    return [
        Finding("I4", order_id, f"event {event_id} tells of it, but there is no such order")
        for order_id, event_id in events_by_order.items()
        if order_id not in existing
    ]


def _lines(message: OrderCreated | OrderRejected) -> tuple[tuple[str, int], ...]:
    lines = message.lines
    if len(lines) == 1:  # as of most orders; the other way takes twice as long
        line = lines[0]
        return ((line.sku, line.quantity),)
    return tuple([(line.sku, line.quantity) for line in lines])


def _shown(position: Position | None) -> str:
    return "nothing" if position is None else f"{position.number}/{position.place}"
