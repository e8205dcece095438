"""What can become of an order, and what its caller is told."""

from datetime import datetime
from enum import Enum
from typing import NamedTuple

from sluice.model import Order, OrderState, QueuePosition

RETRY_WHEN_AWAY_S = 1.0
"""When callers are asked to come back while something that we need is away: it is probed twice as often."""


STOPPING = "STOPPING"
"""The reason with which a gateway that stops ends its watches. A fixed name, like `Reason`: but no order is refused."""

RETRY_WHEN_STOPPING_S = 0.1
"""Another gateway can be asked at once; this much apart, so that nobody asks the same one in a tight loop."""


class Reason(Enum):
    """Fixed names: clients branch on them. They are the `reason` of `google.rpc.ErrorInfo` and of `OrderResult`."""

    OUT_OF_STOCK = "OUT_OF_STOCK"
    SKU_NOT_FOUND = "SKU_NOT_FOUND"
    INVALID_ORDER = "INVALID_ORDER"
    ORDER_ID_REUSED = "ORDER_ID_REUSED"
    CUSTOMER_LIMIT = "CUSTOMER_LIMIT"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    ORDER_STATE = "ORDER_STATE"
    OVERLOADED = "OVERLOADED"
    STOCK_UNREACHABLE = "STOCK_UNREACHABLE"
    JOURNAL_UNREACHABLE = "JOURNAL_UNREACHABLE"
    QUEUE_UNREACHABLE = "QUEUE_UNREACHABLE"
    DEADLINE = "DEADLINE"
    INTERNAL = "INTERNAL"


FINAL_REASONS = frozenset(
    {
        Reason.OUT_OF_STOCK,
        Reason.SKU_NOT_FOUND,
        Reason.INVALID_ORDER,
        Reason.ORDER_ID_REUSED,
        Reason.CUSTOMER_LIMIT,
    }
)
"""Sending the same order again does not help. Every other reason says: unknown or not attempted, send it again."""


class Accepted(NamedTuple):
    """The order stands. `replayed`: it stood before this request."""

    create_time: datetime
    update_time: datetime
    state: OrderState
    version: int
    replayed: bool
    reason: str = ""  # why it ended, if it has


class Queued(NamedTuple):
    """The order stands in the queue and will be decided. `replayed`: it stood there before this request."""

    request_time: datetime
    position: QueuePosition
    replayed: bool


class Refused(NamedTuple):
    """The order does not stand, as far as is known. `subject` is the SKU or field that decided it, if one did; `limit`
    what a customer may have of it, where that decided.
    """

    reason: Reason
    subject: str = ""
    retry_after_s: float = 0.0
    limit: int | None = None


Outcome = Accepted | Refused


def newly_accepted(now: datetime) -> Accepted:
    return Accepted(now, now, OrderState.CREATED, 1, replayed=False)


def newly_held(now: datetime) -> Accepted:
    return Accepted(now, now, OrderState.HELD, 1, replayed=False)


def rejected_before(order: Order) -> Refused:
    """The answer to an order that was queued and is REJECTED: whoever places it again gets its rejection again."""
    return Refused(Reason(order.reason), order.lines[0].sku if len(order.lines) == 1 else "")


def replayed(order: Order) -> Accepted:
    return Accepted(order.create_time, order.update_time, order.state, order.version, True, order.reason)
