"""What the log must hold of every order, in about 60 bytes an order: an audit of millions must fit into memory.

Orders come by ascending id and are never taken out, so columns and a binary search serve for a dictionary of objects.
Contents are kept as hashes: two that differ look alike once in 2^64.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sluice.model import HOLDS_UNITS, Order, OrderState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_HALF_BITS = 64
_LOW_HALF = 2**_HALF_BITS - 1
_COLUMN_BITS = 64
"""An order with more events than this (some sixty lines, or as many changes of state) keeps them beside the columns."""


class Expected(NamedTuple):
    """What the log must hold of one order. `place`: where it is kept."""

    place: int
    created: int
    lines: Sequence[int]
    returned: Sequence[int]
    state: OrderState
    version: int

    # Bit 0: order-created, or order-rejected, and then there is no other. Then a bit for each line's stock-changed, one
    # for each further version's change of state, and one for each line's stock-changed of units that came back.

    def bit_of_line(self, line: int) -> int:
        return 2 << line

    def bit_of_version(self, version: int) -> int:
        return 2 << len(self.lines) + version - 2

    def bit_of_return(self, line: int) -> int:
        return 2 << len(self.lines) + self.version - 1 + line


def created_content(customer_id: str, lines: tuple[tuple[str, int], ...], time_ms: int) -> int:
    return hash((customer_id, lines, time_ms))


def rejected_content(customer_id: str, lines: tuple[tuple[str, int], ...], time_ms: int, reason: str) -> int:
    return hash((customer_id, lines, time_ms, reason))


def changed_content(sku: str, delta: int, order_version: int, time_ms: int) -> int:
    return hash((sku, delta, order_version, time_ms))


class Bits:
    """A set of bits for each order."""

    def __init__(self) -> None:
        self._column = array("Q")
        self._wide: dict[int, int] = {}

    def append(self) -> None:
        self._column.append(0)

    def of(self, place: int) -> int:
        return self._wide.get(place, self._column[place])

    def add(self, place: int, bit: int) -> None:
        bits = self.of(place) | bit
        if bits >> _COLUMN_BITS or place in self._wide:
            self._wide[place] = bits
        else:
            self._column[place] = bits


class ExpectedOrders:
    def __init__(self) -> None:
        # Ids in two halves: arrays of numbers are searched without a call back into Python.
        self._high = array("Q")
        self._low = array("Q")
        self._created = array("q")
        self._states = array("B")
        self._versions = array("L")
        self._line_counts = array("B")
        self._first_line = array("Q")
        self._lines = array("q")
        self.found = Bits()
        """What is on the log."""
        self.waiting = Bits()
        """What is in the outbox."""

    def __len__(self) -> int:
        return len(self._states)

    def add(self, order: Order) -> None:
        """Orders by ascending id."""
        created_ms, updated_ms = _milliseconds(order.create_time), _milliseconds(order.update_time)
        number = UUID(order.order_id).int
        self._high.append(number >> _HALF_BITS)
        self._low.append(number & _LOW_HALF)
        self._states.append(order.state)
        self._versions.append(order.version)
        self._first_line.append(len(self._lines))
        self.found.append()
        self.waiting.append()
        if order.state is OrderState.REJECTED:
            self._created.append(rejected_content(order.customer_id, order.lines, created_ms, order.reason))
            self._line_counts.append(0)
            return
        self._created.append(created_content(order.customer_id, order.lines, created_ms))
        self._line_counts.append(len(order.lines))
        self._lines.extend(changed_content(sku, -quantity, 1, created_ms) for sku, quantity in order.lines)
        if order.state not in HOLDS_UNITS:
            version = order.version
            self._lines.extend(changed_content(sku, quantity, version, updated_ms) for sku, quantity in order.lines)

    def of(self, order_id: str) -> Expected | None:
        number = UUID(order_id).int
        high, low = number >> _HALF_BITS, number & _LOW_HALF
        first, end = bisect_left(self._high, high), bisect_right(self._high, high)
        place = bisect_left(self._low, low, first, end)
        return self._at(place) if place < end and self._low[place] == low else None

    def all(self) -> Iterator[tuple[str, Expected]]:
        """By id."""
        for place in range(len(self)):
            yield str(UUID(int=self._high[place] << _HALF_BITS | self._low[place])), self._at(place)

    def _at(self, place: int) -> Expected:
        state = OrderState(self._states[place])
        count, first = self._line_counts[place], self._first_line[place]
        lines = self._lines[first : first + count]
        returned = self._lines[first + count : first + 2 * count] if state not in HOLDS_UNITS else ()
        return Expected(place, self._created[place], lines, returned, state, self._versions[place])


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MILLISECOND
