"""Reads a `PlaceOrdersRequest` from its bytes.

To take an order out of the generated classes costs more than all that a gateway computes for it afterwards. So what
nearly every order looks like is cut out by position: its id, its customer, and the rest, which repeats from order to
order in a sale and is known. Whatever looks different is read by the generated classes; the tests hold this one to what
they read.
"""

from datetime import timedelta
from functools import lru_cache
from struct import Struct
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
_TO_SHAPE = bytes(
    ord("h") if chr(byte) in "0123456789abcdef" else ord("-") if byte == ord("-") else 0 for byte in range(256)
)

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


def read_batch(payload: bytes) -> OrderBatch:
    """Raises google.protobuf.message.DecodeError if it is no such message."""
    try:
        batch_id, entries = _entries(payload)
    except (IndexError, _Unusual):
        batch = orders_pb2.PlaceOrdersRequest.FromString(payload)
        batch_id, entries = batch.batch_id, [order.SerializeToString() for order in batch.orders]
    to_decide: list[NewOrder] = []
    to_queue: list[NewOrder] = []
    bad: list[BadOrder] = []
    make = tuple.__new__
    for place, entry in enumerate(entries):
        if len(entry) > _CUSTOMER_AT:
            id_tag, raw_id, customer_tag, size = _read_head(entry)
            end = _CUSTOMER_AT + size
            if (
                id_tag == _ORDER_ID
                and customer_tag == _CUSTOMER_ID
                and raw_id.translate(_TO_SHAPE) == _SHAPE_OF_ID
                and 0 < size < MAX_NAME_CHARS
                and end < len(entry) <= end + _LONGEST_KNOWN_REST
                and (rest := _known_rest(entry[end:])) is not None
                and (customer := _name(entry[_CUSTOMER_AT:end])) is not None
            ):
                queued, *content = rest
                order = make(NewOrder, (raw_id.decode(), customer, *content, None))
                (to_queue if queued else to_decide).append(order)
                continue
        message = orders_pb2.PlaceOrderRequest.FromString(entry)
        if isinstance(parsed := parse_order(message), NewOrder):
            (to_queue if message.mode == orders_pb2.MODE_QUEUED else to_decide).append(parsed)
        else:
            bad.append(BadOrder(place, message.order_id, parsed))
    return OrderBatch(batch_id, to_decide, to_queue, bad)


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


@lru_cache(maxsize=_KNOWN_RESTS)
def _known_rest(rest: bytes) -> _Rest | None:
    """None if the order is bad, or if this is not all that follows the customer."""
    try:
        message = orders_pb2.PlaceOrderRequest.FromString(rest)
    except DecodeError:
        return None
    if message.order_id or message.customer_id:
        return None
    message.order_id, message.customer_id = _ANY_ID, _ANY_NAME
    order = parse_order(message)
    if not isinstance(order, NewOrder):
        return None
    return _Rest(message.mode == orders_pb2.MODE_QUEUED, order.lines, order.hold, order.priority)


def _name(raw: bytes) -> str | None:
    """None if it is none."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return None
    return name if name.isprintable() else None
