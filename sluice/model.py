"""What the whole house talks about: orders, their lines and states, stock policies.

Plain data only. An order id is a canonical string (lower-case UUID with hyphens) everywhere in Python: that is how it
arrives, how it is answered and how it is keyed on Kafka, and the database drivers parse it in C.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

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
    """A valid order that has not been decided yet. `lines` are sorted by SKU, each SKU once."""

    order_id: str
    customer_id: str
    lines: tuple[Line, ...]


class Order(NamedTuple):
    """An order that stands in the journal."""

    order_id: str
    customer_id: str
    lines: tuple[Line, ...]
    state: OrderState
    create_time: datetime
    update_time: datetime
    version: int


def same_content(order: Order, new: NewOrder) -> bool:
    """Whether `new` asks for what `order` is: then it is the same order sent again, not a reused id."""
    return order.customer_id == new.customer_id and order.lines == new.lines


def units_by_sku(orders: Sequence[NewOrder]) -> dict[str, int]:
    """Sums of all lines of `orders`, by SKU."""
    units: dict[str, int] = {}
    for order in orders:
        for sku, quantity in order.lines:
            units[sku] = units.get(sku, 0) + quantity
    return units
