"""Reads a `PlaceOrdersRequest` from its bytes.

To take an order out of the generated classes costs more than all that a gateway computes for it afterwards. So where
all orders of a batch look as nearly every order does, they are cut out by position and judged a column at a time: their
ids, their customers, and the rest, which repeats from order to order in a sale and is known. A batch in which one looks
different is read by the generated classes; the tests hold this one to what they read.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache, partial
from itertools import repeat
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class
from typing import NamedTuple

from google.protobuf.message import DecodeError

from gateway.validation import Violation, parse_order
from sluice._gen.orders.v1 import orders_pb2
from sluice.model import MAX_NAME_CHARS, Line, NewOrder
from sluice.trace_context import TraceContext

_KNOWN_RESTS = 16_384
_LONGEST_KNOWN_REST = 200
"""Bytes. One line of the longest name has 136; so all that is known needs 10 MB at most."""

# Tags: field number and wire type, as sluice/orders/v1/orders.proto has them.
_BATCH_ID = 0x08
_ORDERS = 0x12
_ORDER_ID = b"\x0a\x24"  # with the length of an id
_CUSTOMER_ID = 0x12

_HEAD = Struct("2s36sBB")
"""Tag and length of the id, the id, tag and length of the customer; what is longer is no good customer."""
_read_head = _HEAD.unpack_from
_CUSTOMER_AT = _HEAD.size

_SHAPE_OF_ID = b"hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"
_HEX = b"0123456789abcdef"
_TO_SHAPE = bytes(ord("h") if byte in _HEX else byte if byte in b"-," else 0 for byte in range(256))

_ANY_ID = "00000000-0000-0000-0000-000000000000"
_ANY_NAME = "x"


class BadOrder(NamedTuple):
    """`place`: its index in the batch. `order_id` as the client sent it."""

    place: int
    order_id: str
    violations: list[Violation]


class OrderBatch(NamedTuple):
    """A `PlaceOrdersRequest`: the good orders, by what is wanted of them, and the bad ones."""

    batch_id: int
    to_decide: list[NewOrder]
    to_queue: list[NewOrder]
    bad: list[BadOrder]

    def traced(self, trace: TraceContext) -> "OrderBatch":
        """The same, of that trace."""
        return self._replace(
            to_decide=[order._replace(trace=trace) for order in self.to_decide],
            to_queue=[order._replace(trace=trace) for order in self.to_queue],
        )

    def order_ids(self) -> list[str]:
        """Of all, in no order."""
        return [each.order_id for orders in (self.to_decide, self.to_queue, self.bad) for each in orders]


class _Rest(NamedTuple):
    """What an order says beside its id and its customer."""

    queued: bool
    lines: tuple[Line, ...]
    hold: timedelta | None
    priority: int


_new_order = partial(tuple.__new__, NewOrder)


def read_batch(payload: bytes) -> OrderBatch:
    """Raises google.protobuf.message.DecodeError if it is no such message."""
    try:
        batch_id, entries = _entries(payload)
        return OrderBatch(batch_id, *_usual_orders(entries), [])
    except (_Unusual, IndexError, StructError, UnicodeDecodeError):
        return _read_by_generated_classes(payload)


def _usual_orders(entries: Sequence[bytes]) -> tuple[list[NewOrder], list[NewOrder]]:
    """Those to decide and those to queue. Raises _Unusual, StructError or UnicodeDecodeError if there are others."""
    if not entries:
        return [], []
    raw_ids = []
    raw_customers = []
    raw_rests = []
    for entry in entries:
        id_tag, raw_id, customer_tag, size = _read_head(entry)
        if id_tag != _ORDER_ID or customer_tag != _CUSTOMER_ID or not 0 < size < MAX_NAME_CHARS:
            raise _Unusual
        end = _CUSTOMER_AT + size
        raw_ids.append(raw_id)
        raw_customers.append(entry[_CUSTOMER_AT:end])
        raw_rests.append(entry[end:])
    ids = _order_ids(raw_ids)
    customers = _names(raw_customers)
    known = {raw: _known_rest(raw) for raw in set(raw_rests)}
    queued, lines, holds, priorities = zip(*map(known.__getitem__, raw_rests), strict=True)
    orders = list(map(_new_order, zip(ids, customers, lines, holds, priorities, repeat(None))))
    if not any(queued):
        return orders, []
    return (
        [order for order, to_queue in zip(orders, queued, strict=True) if not to_queue],
        [order for order, to_queue in zip(orders, queued, strict=True) if to_queue],
    )


def _read_by_generated_classes(payload: bytes) -> OrderBatch:
    message = orders_pb2.PlaceOrdersRequest.FromString(payload)
    batch = OrderBatch(message.batch_id, [], [], [])
    for place, each in enumerate(message.orders):
        parsed = parse_order(each)
        if isinstance(parsed, NewOrder):
            (batch.to_queue if each.mode == orders_pb2.MODE_QUEUED else batch.to_decide).append(parsed)
        else:
            batch.bad.append(BadOrder(place, each.order_id, parsed))
    return batch


class _Unusual(Exception):
    """Not what clients send."""


def _entries(payload: bytes) -> tuple[int, list[bytes]]:
    """The batch's id and its orders' bytes. Raises _Unusual or IndexError for what only the generated classes may
    judge.
    """
    batch_id = 0
    entries: list[bytes] = []
    at = 0
    end = len(payload)
    while at < end:
        tag = payload[at]
        number = payload[at + 1]
        at += 2
        if number >= 0x80:
            number, at = _long_varint(payload, at - 1)
        if tag == _ORDERS:
            entries.append(payload[at : at + number])
            at += number
        elif tag == _BATCH_ID:
            batch_id = number
        else:
            raise _Unusual
    if at > end:
        raise _Unusual
    return batch_id, entries


def _long_varint(payload: bytes, at: int) -> tuple[int, int]:
    """The number at `at` and where it ends. Raises _Unusual above 63 bits: no client counts so far."""
    number = shift = 0
    while (byte := payload[at]) >= 0x80:
        number |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if shift > 56:
            raise _Unusual
    return number | byte << shift, at + 1


def _order_ids(raw: Sequence[bytes]) -> Sequence[str]:
    joined = b",".join(raw)
    if joined.translate(_TO_SHAPE) != b",".join([_SHAPE_OF_ID] * len(raw)):
        raise _Unusual
    return joined.decode().split(",")


def _names(raw: Sequence[bytes]) -> Sequence[str]:
    """No name has a line break in it: it would not be printable."""
    names = b"\n".join(raw).decode().split("\n")
    if len(names) != len(raw) or not "".join(names).isprintable():
        raise _Unusual
    return names


@lru_cache(maxsize=_KNOWN_RESTS)
def _known_rest(rest: bytes) -> _Rest:
    """Raises _Unusual if the order is bad, if this is not all that follows the customer, or not worth knowing."""
    if not 0 < len(rest) <= _LONGEST_KNOWN_REST:
        raise _Unusual
    try:
        message = orders_pb2.PlaceOrderRequest.FromString(rest)
    except DecodeError:
        raise _Unusual from None
    if message.order_id or message.customer_id:
        raise _Unusual
    message.order_id, message.customer_id = _ANY_ID, _ANY_NAME
    order = parse_order(message)
    if not isinstance(order, NewOrder):
        raise _Unusual
    return _Rest(message.mode == orders_pb2.MODE_QUEUED, order.lines, order.hold, order.priority)
