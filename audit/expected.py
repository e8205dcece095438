"""What the log must hold of every order, in about 60 bytes an order: an audit of millions must fit into memory.

Orders come by ascending id and are never taken out, so columns and a binary search serve for a dictionary of objects.
An order is spoken of by its place in the columns: to make an object of it again for each event would cost more than
all that is asked of it. Contents are kept as hashes: two that differ look alike once in 2^64.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from struct import Struct
from uuid import UUID

from sluice.model import HOLDS_UNITS, Order, OrderState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_HALF_BITS = 64
_HALVES = Struct(">QQ")
_COLUMN_BITS = 64
"""An order with more events than this (some sixty lines, or as many changes of state) keeps them beside the columns."""

_HOLDING = frozenset(map(int, HOLDS_UNITS))

FIRST_EVENT = 1
"""The bit of order-created, or of order-rejected, and then there is no other. After it come a bit for each line's
stock-changed, one for each further version's change of state, and one for each line's stock-changed of units that came
back."""


def created_content(customer_id: str, lines: tuple[tuple[str, int], ...], time_ms: int) -> int:
    return hash((customer_id, lines, time_ms))


def rejected_content(customer_id: str, lines: tuple[tuple[str, int], ...], time_ms: int, reason: str) -> int:
    return hash((customer_id, lines, time_ms, reason))


def changed_content(sku: str, delta: int, order_version: int, time_ms: int) -> int:
    return hash((sku, delta, order_version, time_ms))


class Bits:
    """A set of bits for each order."""

    def __init__(self) -> None:
        self.column = array("Q")
        """Those that fit into it."""
        self._wide: dict[int, int] = {}

    def of(self, place: int) -> int:
        return self.column[place] | self._wide.get(place, 0)

    def add(self, place: int, bit: int) -> bool:
        """Whether it was not there yet."""
        if bit >> _COLUMN_BITS:
            before = self._wide.get(place, 0)
            self._wide[place] = before | bit
        else:
            before = self.column[place]
            self.column[place] = before | bit
        return not before & bit


class ExpectedOrders:
    def __init__(self) -> None:
        # Ids in two halves: arrays of numbers are searched without a call back into Python.
        self._high = array("Q")
        self._low = array("Q")
        self._created = array("q")
        self._states = array("B")
        self._versions = array("I")
        self._line_counts = array("B")
        self._first_line = array("Q")
        # Of each order its lines, then, if its units came back, the same lines again.
        self._lines = array("q")
        self.found = Bits()
        """What is on the log."""
        self.waiting = Bits()
        """What is in the outbox."""

    def add(self, order: Order) -> None:
        """Orders by ascending id."""
        order_id, customer_id, lines, state, create_time, update_time, version, *_ = order
        created_ms = _milliseconds(create_time)
        # Parsed by hand, here and when an event asks: `UUID` takes five times as long.
        high, low = _HALVES.unpack(bytes.fromhex(order_id.replace("-", "")))
        self._high.append(high)
        self._low.append(low)
        self._states.append(state)
        self._versions.append(version)
        self._first_line.append(len(self._lines))
        self.found.column.append(0)
        self.waiting.column.append(0)
        if state is OrderState.REJECTED:
            self._created.append(rejected_content(customer_id, lines, created_ms, order.reason))
            self._line_counts.append(0)
            return
        self._created.append(created_content(customer_id, lines, created_ms))
        self._line_counts.append(len(lines))
        self._lines.extend([changed_content(sku, -quantity, 1, created_ms) for sku, quantity in lines])
        if state not in HOLDS_UNITS:
            updated_ms = _milliseconds(update_time)
            self._lines.extend([changed_content(sku, quantity, version, updated_ms) for sku, quantity in lines])

    def place_of(self, order_id: str) -> int | None:
        high, low = _HALVES.unpack(bytes.fromhex(order_id.replace("-", "")))
        highs, lows = self._high, self._low
        place = bisect_left(highs, high)
        if place == len(highs) or highs[place] != high:
            return None
        if lows[place] == low:
            return place
        end = bisect_right(highs, high, place)
        place = bisect_left(lows, low, place, end)
        return place if place < end and lows[place] == low else None

    def order_id(self, place: int) -> str:
        return str(UUID(int=self._high[place] << _HALF_BITS | self._low[place]))

    def state(self, place: int) -> OrderState:
        return OrderState(self._states[place])

    def version(self, place: int) -> int:
        return self._versions[place]

    def line_count(self, place: int) -> int:
        return self._line_counts[place]

    def returned_count(self, place: int) -> int:
        """Lines whose units came back."""
        return 0 if self._states[place] in _HOLDING else self._line_counts[place]

    def says(self, place: int, content: int) -> bool:
        """Whether its first event says what the order says."""
        return self._created[place] == content

    def bit_of_change(self, place: int, content: int) -> int | None:
        """Of the stock-changed that says so, of a line or of one that came back; None if it is of neither."""
        first, lines = self._first_line[place], self._line_counts[place]
        told = lines if self._states[place] in _HOLDING else 2 * lines
        try:
            line = self._lines.index(content, first, first + told) - first
        except ValueError:
            return None
        return 2 << line if line < lines else self.bit_of_return(place, line - lines)

    def bit_of_line(self, line: int) -> int:
        return 2 << line

    def bit_of_version(self, place: int, version: int) -> int:
        return 2 << self._line_counts[place] + version - 2

    def bit_of_return(self, place: int, line: int) -> int:
        return 2 << self._line_counts[place] + self._versions[place] - 1 + line

    def incomplete(self) -> Iterator[int]:
        """The places of orders of which something is neither on the log nor waiting, by id."""
        columns = (self.found.column, self.waiting.column, self._line_counts, self._versions, self._states)
        for place, (found, waiting, lines, version, state) in enumerate(zip(*columns, strict=True)):
            events = lines + version if state in _HOLDING else 2 * lines + version
            everything = (1 << events) - 1
            # The second look is for those that do not fit into the columns.
            if found | waiting != everything and self.there(place) != everything:
                yield place

    def there(self, place: int) -> int:
        """What is on the log or waiting."""
        return self.found.of(place) | self.waiting.of(place)


def _milliseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MILLISECOND
