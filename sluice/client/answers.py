"""What callers are answered with: plain data, made from the messages."""

from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2


class OrderState(IntEnum):
    """The same numbers as `sluice.orders.v1.OrderState`. UNKNOWN: of a server that is newer than this client."""

    UNKNOWN = 0
    PENDING = 1
    CREATED = 2
    VALIDATED = 3
    CONFIRMED = 4
    HELD = 5
    EXPIRED = 6
    CANCELLED = 7
    REJECTED = 8


class StockPolicy(IntEnum):
    """The same numbers as `sluice.stock.v1.StockPolicy`. UNKNOWN: the server's default, or one that is newer than
    this client.
    """

    UNKNOWN = 0
    EXACT = 1
    ESCROW = 2
    COUNTER = 3


class Consistency(IntEnum):
    """The same numbers as `sluice.stock.v1.Consistency`."""

    STRONG = 1
    QUORUM = 2
    LOCAL = 3


class Line(NamedTuple):
    """Units of one SKU."""

    sku: str
    quantity: int


class QueuePosition(NamedTuple):
    """Where an order stands in the queue: orders of one partition are decided by ascending offset."""

    partition: int
    offset: int


class Placed(NamedTuple):
    """An order that stands: it is committed on disk. `replayed`: it stood before the request that was answered, which
    may have been sent by this very call, over a connection that broke. How it stands now: `get`.
    """

    order_id: str
    customer: str
    lines: tuple[Line, ...]
    replayed: bool


class Order(NamedTuple):
    """An order as it stands. `hold_end` if it was placed with a hold; `reason` says why it ended, and is empty while
    it has its units. `queue_position` while it is PENDING.
    """

    order_id: str
    customer: str
    lines: tuple[Line, ...]
    state: OrderState
    create_time: datetime
    update_time: datetime
    version: int
    hold_end: datetime | None
    reason: str
    priority: int
    queue_position: QueuePosition | None


class SkuSummary(NamedTuple):
    """One line of the list of SKUs; `stock` says more."""

    sku: str
    policy: StockPolicy
    available: int


class Stock(NamedTuple):
    """The stock of a SKU, as `GetStock` says it."""

    sku: str
    policy: StockPolicy
    restocked: int
    available: int
    escrow: int
    sold: int
    as_of: datetime
    max_oversell: int
    max_undersell: int
    owners: int


def read_order(message: orders_pb2.Order) -> Order:
    return Order(
        message.order_id,
        message.customer_id,
        tuple([Line(line.sku, line.quantity) for line in message.lines]),
        _known_state(message.state),
        _time(message.create_time),
        _time(message.update_time),
        message.version,
        _time(message.hold_end_time) if message.HasField("hold_end_time") else None,
        message.reason,
        message.priority,
        _position(message.queue_position) if message.HasField("queue_position") else None,
    )


def read_stock(message: stock_pb2.GetStockResponse) -> Stock:
    return Stock(
        message.sku,
        known_policy(message.policy),
        message.restocked,
        message.available,
        message.escrow,
        message.sold,
        _time(message.as_of),
        message.max_oversell,
        message.max_undersell,
        message.owners,
    )


def read_summary(message: stock_pb2.SkuSummary) -> SkuSummary:
    return SkuSummary(message.sku, known_policy(message.policy), message.available)


def known_policy(number: int) -> StockPolicy:
    return StockPolicy(number) if number in _POLICIES else StockPolicy.UNKNOWN


def _position(message: orders_pb2.QueuePosition) -> QueuePosition:
    return QueuePosition(message.partition, message.offset)


def _known_state(number: int) -> OrderState:
    return OrderState(number) if number in _STATES else OrderState.UNKNOWN


_STATES = frozenset(OrderState)
_POLICIES = frozenset(StockPolicy)


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(UTC)
