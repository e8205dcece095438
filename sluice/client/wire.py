"""Orders as they lie in a `PlaceOrdersRequest`.

The parts around what differs from order to order are put together by hand: an object of the generated classes for each
order would cost as much as all the rest of placing it.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import lru_cache

from sluice._gen.orders.v1 import orders_pb2
from sluice.client.answers import Line

CACHED_LINES = 4_096
"""A sale is of few SKUs and small quantities; about 1 MB."""

MAX_ORDER_BYTES = 64 * 1024
"""Twice the largest order that a server accepts. A message that is too large for the server would end the stream, for
all orders on it."""

_ORDER_TAG = b"\x12"  # field 2 of PlaceOrdersRequest
_ID_HEAD = b"\x0a\x24"  # field 1 of PlaceOrderRequest, 36 bytes
_CUSTOMER_TAG = b"\x12"  # field 2 of PlaceOrderRequest


@lru_cache(maxsize=CACHED_LINES)
def one_line(sku: str, quantity: int) -> tuple[tuple[Line, ...], bytes]:
    """The line of an order of one line, which most orders are, and its bytes. Raises ValueError."""
    lines = (Line(sku, quantity),)
    return lines, encode_lines(lines)


def encode_lines(lines: Sequence[Line]) -> bytes:
    """Raises ValueError for what the contract has no room for: numbers below 0 or above 32 bits, half a character."""
    messages = [orders_pb2.OrderLine(sku=sku, quantity=quantity) for sku, quantity in lines]
    return orders_pb2.PlaceOrderRequest(lines=messages).SerializeToString()


def encode_hold(hold: timedelta) -> bytes:
    request = orders_pb2.PlaceOrderRequest()
    request.hold.FromTimedelta(hold)
    return request.SerializeToString()


@lru_cache(maxsize=CACHED_LINES)
def encode_priority(priority: int) -> bytes:
    """Raises ValueError for what the contract has no room for."""
    return orders_pb2.PlaceOrderRequest(priority=priority).SerializeToString()


def encode_order(order_id: str, customer: str, rest: bytes) -> bytes:
    """One entry of a batch. `rest` are the fields after the customer, encoded: lines, hold and priority. The id
    has 36 characters. Raises ValueError for half a character, and for an order that no server takes.
    """
    name = customer.encode()
    content = b"%b%b%b%b%b%b" % (_ID_HEAD, order_id.encode(), _CUSTOMER_TAG, _varint(len(name)), name, rest)
    size = len(content)
    if size > MAX_ORDER_BYTES:
        raise ValueError(f"the order has {size} bytes, more than {MAX_ORDER_BYTES}")
    return b"%b%b%b" % (_ORDER_TAG, _varint(size), content)


def encode_batch(batch_id: int, entries: Iterable[bytes]) -> bytes:
    return b"".join([orders_pb2.PlaceOrdersRequest(batch_id=batch_id).SerializeToString(), *entries])


def _varint(number: int) -> bytes:
    return _VARINTS[number] if number < len(_VARINTS) else _make_varint(number)


def _make_varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


_VARINTS = [_make_varint(number) for number in range(1_024)]
"""Longer orders have several lines or names far beyond ASCII."""
