"""An order that waits for its decision, as it stands in the queue: written by gateways, read by whoever decides.

Its key, the first of its SKUs in sorted order, says in whose queue it stands: orders of one key are decided in the
order in which they came. A cart's other SKUs are taken in that same turn, ahead of or behind their own queues.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from google.protobuf.message import DecodeError

from sluice._gen.events.v1.events_pb2 import OrderLine, OrderRequested
from sluice.model import Line, NewOrder

TYPE_ORDER_REQUESTED = "sluice.order.requested.v1"


class NoOrderRequest(ValueError):
    """The bytes are not what a gateway writes."""


class OrderRequest(NamedTuple):
    """`time`: when a gateway took it in, by its clock. The order's trace travels beside its bytes."""

    order: NewOrder
    time: datetime


def queue_key(lines: Sequence[Line]) -> str:
    """`lines` are sorted by SKU."""
    return lines[0].sku


def request_event_id(order_id: str) -> str:
    """An order's events have the versions from 1 on."""
    return f"{order_id}/0"


def encode_request(order: NewOrder, time: datetime) -> bytes:
    """An `OrderRequested`."""
    message = OrderRequested(
        order_id=order.order_id,
        customer_id=order.customer_id,
        lines=[OrderLine(sku=sku, quantity=quantity) for sku, quantity in order.lines],
        priority=order.priority,
    )
    message.request_time.FromDatetime(time)
    if order.hold is not None:
        message.hold.FromTimedelta(order.hold)
    return message.SerializeToString()


def decode_request(value: bytes) -> OrderRequest:
    """Raises NoOrderRequest."""
    try:
        message = OrderRequested.FromString(value)
    except DecodeError as error:
        raise NoOrderRequest(str(error)) from error
    lines = tuple(Line(line.sku, line.quantity) for line in message.lines)
    if not lines or not message.order_id or sorted(lines) != list(lines):
        raise NoOrderRequest("an order without an id, without lines, or with lines in no order")
    try:
        hold: timedelta | None = message.hold.ToTimedelta() if message.HasField("hold") else None
        request_time = message.request_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise NoOrderRequest(str(error)) from error
    order = NewOrder(message.order_id, message.customer_id, lines, hold, message.priority)
    return OrderRequest(order, request_time)
