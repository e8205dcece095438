"""What the whole house talks about: orders, their lines and states, stock policies.

Plain data only. An order id is a canonical string (lower-case UUID with hyphens) everywhere in Python: that is how it
arrives, how it is answered and how it is keyed on Kafka, and the database drivers parse it in C.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from sluice.trace_context import TraceContext

MAX_NAME_CHARS = 128
"""Longest SKU or customer id: a key that people read, stored in every order row and event."""

MAX_LINES_PER_ORDER = 64
"""A cart, not a bulk import: bounds the work that one all-or-none decision can need."""

MAX_LINE_QUANTITY = 1_000_000
"""Keeps the sum over a batch (5,000 orders of 64 lines) far inside a signed 64-bit number."""

MAX_RESTOCK_UNITS = 1_000_000_000_000
"""Keeps every sum over a SKU's history inside a signed 64-bit number."""

MAX_OWNERS = 16
"""Stock servers that one SKU is spread over. More escrows of one SKU would each be a small share, and buyers of the
last units would have to ask them all."""

MAX_ORDERS_PER_BATCH = 5_000
"""One `PlaceOrders` message: at about 150 bytes an order it stays well below gRPC's 4 MiB message limit."""


MIN_HOLD = timedelta(seconds=1)
"""Shorter holds would end before who placed them can answer; holds that are over are looked for twice a second."""

MAX_HOLD = timedelta(days=30)
"""Units set aside for longer are better kept out of the sale."""


MAX_PRIORITY = 1_000
"""Room for a handful of classes of customers or for a score; it fits the smallest column that the databases have."""


class OrderState(IntEnum):
    """The same numbers as `sluice.orders.v1.OrderState`."""

    PENDING = 1
    CREATED = 2
    VALIDATED = 3
    CONFIRMED = 4
    HELD = 5
    EXPIRED = 6
    CANCELLED = 7
    REJECTED = 8


STATE_OF_NUMBER: Mapping[int, OrderState] = {state.value: state for state in OrderState}
"""For who reads millions of rows: `OrderState(number)` takes ten times as long."""

HOLDS_UNITS = frozenset({OrderState.CREATED, OrderState.VALIDATED, OrderState.CONFIRMED, OrderState.HELD})
"""An order in any other state never had units, or has given them back."""

FINAL_STATES = frozenset({OrderState.CONFIRMED, OrderState.EXPIRED, OrderState.CANCELLED, OrderState.REJECTED})
"""Where the life of an order leads. Only a confirmed one can still be moved: its client may cancel it."""

ENDED_BY_CLIENT = "CLIENT"
ENDED_BY_EXPIRY = "HOLD_EXPIRED"
ENDED_AS_OVERSOLD = "OVERSOLD"
"""Why an order has no units any more. Fixed names: they are in answers and events, and clients branch on them. Another
check that cancels orders has a name of its own in the same style."""


class StockPolicy(IntEnum):
    """The same numbers as `sluice.stock.v1.StockPolicy`."""

    EXACT = 1
    ESCROW = 2
    COUNTER = 3


class Line(NamedTuple):
    """Units of one SKU."""

    sku: str
    quantity: int


class NewOrder(NamedTuple):
    """A valid order that has not been decided yet. `lines` are sorted by SKU, each SKU once. With `hold` its units are
    set aside for so long, from its creation on, and go back unless it is confirmed. `priority` says who keeps what was
    sold beyond the stock; the lowest is 0. `trace` is of the request, and no part of what the order is.
    """

    order_id: str
    customer_id: str
    lines: tuple[Line, ...]
    hold: timedelta | None = None
    priority: int = 0
    trace: TraceContext | None = None


class QueuePosition(NamedTuple):
    """Where an order stands in the queue. Those of one partition are decided by ascending offset."""

    partition: int
    offset: int


class Order(NamedTuple):
    """An order that stands in the journal. `hold_end` is kept when the hold is over; `reason` says why the order ended
    or was rejected, and is empty while it has its units. One that is still in the queue does not stand in the journal:
    it is PENDING, has version 0, and alone has a `queue_position`.
    """

    order_id: str
    customer_id: str
    lines: tuple[Line, ...]
    state: OrderState
    create_time: datetime
    update_time: datetime
    version: int
    hold_end: datetime | None = None
    reason: str = ""
    priority: int = 0
    queue_position: QueuePosition | None = None


def same_content(order: Order, new: NewOrder) -> bool:
    """Whether `new` asks for what `order` is: then it is the same order sent again, not a reused id."""
    hold = None if order.hold_end is None else order.hold_end - order.create_time
    of_order = (order.customer_id, order.lines, hold, order.priority)
    return of_order == (new.customer_id, new.lines, new.hold, new.priority)


def same_request(first: NewOrder, second: NewOrder) -> bool:
    """Whether both ask for the same order. Whoever sends an order again does so in another span."""
    return first == second._replace(trace=first.trace)


def units_by_sku(orders: Sequence[NewOrder | Order]) -> dict[str, int]:
    """Sums of all lines of `orders`, by SKU."""
    units: dict[str, int] = {}
    for order in orders:
        for sku, quantity in order.lines:
            units[sku] = units.get(sku, 0) + quantity
    return units
