"""Orders as they lie on the wire, each with a fresh id and otherwise put together before any clock starts.

The parts around the id are serialized once by the generated classes; a new order is then three pieces of bytes. So the
load generator costs as little as Python can, and what is measured is the server.
"""

from collections.abc import Sequence
from math import lcm

from sluice._gen.orders.v1 import orders_pb2
from sluice.client.order_ids import new_order_id
from sluice.model import Line, NewOrder

CUSTOMERS = 1_000

UNITS = 1_000_000_000
"""Of every SKU: nothing sells out, so every order must be accepted."""

HOT_SKUS = ["hot-0000"]
EXACT_SKUS = ["exact-0000"]
"""As hot as the other, under the policy that takes nothing ahead."""

COUNTER_SKUS = ["counter-0000"]

MANY_SKUS = [f"many-{number:05}" for number in range(10_000)]
SOME_SKUS = MANY_SKUS[:1_000]


def very_many_skus(count: int) -> list[str]:
    return [f"very-many-{number:07}" for number in range(count)]


_PLACEHOLDER = "00000000-0000-0000-0000-000000000000"


class OrderSource:
    """An endless sequence of one-unit orders over `skus` and CUSTOMERS customers in turn, as messages or as rows."""

    def __init__(self, skus: Sequence[str], mode: str = "MODE_UNSPECIFIED") -> None:
        period = lcm(CUSTOMERS, len(skus))
        self._rows = [(f"customer-{n % CUSTOMERS:04}", (Line(skus[n % len(skus)], 1),)) for n in range(period)]
        orders = [_order(row, mode) for row in self._rows]
        self._singles = [_around_id(order.SerializeToString()) for order in orders]
        self._entries = [
            _around_id(orders_pb2.PlaceOrdersRequest(orders=[order]).SerializeToString()) for order in orders
        ]
        self._next = 0

    def request(self) -> bytes:
        """One `PlaceOrderRequest`."""
        head, tail = self._singles[self._advance(1)]
        return head + new_order_id().encode() + tail

    def batch_request(self, batch_id: int, orders: int) -> bytes:
        """One `PlaceOrdersRequest`."""
        first = self._advance(orders)
        pieces = [orders_pb2.PlaceOrdersRequest(batch_id=batch_id).SerializeToString()]
        for n in range(first, first + orders):
            head, tail = self._entries[n % len(self._entries)]
            pieces += (head, new_order_id().encode(), tail)
        return b"".join(pieces)

    def rows(self, orders: int) -> list[NewOrder]:
        """The same orders as the journal gets them."""
        first = self._advance(orders)
        return [NewOrder(new_order_id(), *self._rows[n % len(self._rows)]) for n in range(first, first + orders)]

    def _advance(self, orders: int) -> int:
        first = self._next
        self._next = (first + orders) % len(self._rows)
        return first


def _order(row: tuple[str, tuple[Line, ...]], mode: str) -> orders_pb2.PlaceOrderRequest:
    customer_id, lines = row
    return orders_pb2.PlaceOrderRequest(
        order_id=_PLACEHOLDER,
        customer_id=customer_id,
        mode=mode,
        lines=[orders_pb2.OrderLine(sku=line.sku, quantity=line.quantity) for line in lines],
    )


def _around_id(message: bytes) -> tuple[bytes, bytes]:
    head, tail = message.split(_PLACEHOLDER.encode())
    return head, tail
