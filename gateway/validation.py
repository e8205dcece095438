"""Turns what a client sent into a `NewOrder`, or names every field that is wrong, all of them at once."""

import re
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration

from sluice._gen.orders.v1 import orders_pb2
from sluice.model import (
    MAX_HOLD,
    MAX_LINE_QUANTITY,
    MAX_LINES_PER_ORDER,
    MAX_NAME_CHARS,
    MAX_PRIORITY,
    MIN_HOLD,
    Line,
    NewOrder,
)
from sluice.trace_context import TraceContext

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
CACHED_LINES = 16_384
"""(SKU, quantity) repeats in a sale; checking it anew costs more than finding it. About 4 MB."""

_MODES = (orders_pb2.MODE_UNSPECIFIED, orders_pb2.MODE_DIRECT, orders_pb2.MODE_QUEUED)


class Violation(NamedTuple):
    """`field` is a path like `lines[2].quantity`."""

    field: str
    description: str


def parse_order(message: orders_pb2.PlaceOrderRequest, trace: TraceContext | None = None) -> NewOrder | list[Violation]:
    """The order that `message` asks for, or everything that is wrong with it."""
    order_id = message.order_id
    customer_id = message.customer_id
    lines = message.lines
    good_lines = _one_line(lines[0].sku, lines[0].quantity) if len(lines) == 1 else _sorted_lines(lines)
    priority = message.priority
    if (
        good_lines
        and _UUID.fullmatch(order_id)
        and is_name(customer_id)
        and message.mode in _MODES
        and priority <= MAX_PRIORITY
    ):
        if not message.HasField("hold"):
            return NewOrder(order_id.lower(), customer_id, good_lines, None, priority, trace)
        if (hold := _hold(message.hold)) is not None:
            return NewOrder(order_id.lower(), customer_id, good_lines, hold, priority, trace)
    return _violations(message, [Line(line.sku, line.quantity) for line in lines])


def parse_uuid(value: str, field: str) -> tuple[str, list[Violation]]:
    """The canonical form of a UUID, or what is wrong with it."""
    return value.lower(), [] if _UUID.fullmatch(value) else [Violation(field, "must be a UUID of 36 characters")]


def name_violations(value: str, field: str) -> list[Violation]:
    if is_name(value):
        return []
    return [Violation(field, f"must have 1 to {MAX_NAME_CHARS} characters and no control characters")]


def is_name(value: str) -> bool:
    """Whether `value` may name a SKU or a customer: `isprintable` also refuses what looks like nothing."""
    return 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


@lru_cache(maxsize=CACHED_LINES)
def _one_line(sku: str, quantity: int) -> tuple[Line, ...] | None:
    """The line of an order of one line, which most orders are, if it is good."""
    return (Line(sku, quantity),) if is_name(sku) and 0 < quantity <= MAX_LINE_QUANTITY else None


def _sorted_lines(lines: Sequence[orders_pb2.OrderLine]) -> tuple[Line, ...] | None:
    """All lines, sorted by SKU, if they are good."""
    if not 0 < len(lines) <= MAX_LINES_PER_ORDER:
        return None
    found = sorted(Line(line.sku, line.quantity) for line in lines)
    if len({sku for sku, _ in found}) < len(found):
        return None
    return tuple(found) if all(is_name(sku) and 0 < quantity <= MAX_LINE_QUANTITY for sku, quantity in found) else None


def _hold(duration: Duration) -> timedelta | None:
    """The hold, if it is good. Finer parts than microseconds are cut off: no database keeps them."""
    if not (0 <= duration.seconds <= MAX_HOLD.total_seconds() and 0 <= duration.nanos < 1_000_000_000):
        return None
    hold = timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1_000)
    return hold if MIN_HOLD <= hold <= MAX_HOLD else None


def _violations(message: orders_pb2.PlaceOrderRequest, lines: list[Line]) -> list[Violation]:
    found = parse_uuid(message.order_id, "order_id")[1] + name_violations(message.customer_id, "customer_id")
    if not lines:
        found.append(Violation("lines", "must have at least one line"))
    elif len(lines) > MAX_LINES_PER_ORDER:
        found.append(Violation("lines", f"must have at most {MAX_LINES_PER_ORDER} lines"))
    first_line_of: dict[str, int] = {}
    for index, (sku, quantity) in enumerate(lines[:MAX_LINES_PER_ORDER]):
        found += name_violations(sku, f"lines[{index}].sku")
        if not 0 < quantity <= MAX_LINE_QUANTITY:
            found.append(Violation(f"lines[{index}].quantity", f"must be 1 to {MAX_LINE_QUANTITY}"))
        first = first_line_of.setdefault(sku, index)
        if first != index:
            found.append(Violation(f"lines[{index}].sku", f"is the same as lines[{first}].sku: give one line per SKU"))
    if message.HasField("hold") and _hold(message.hold) is None:
        found.append(Violation("hold", f"must be {MIN_HOLD.seconds} s to {MAX_HOLD.days} days"))
    if message.priority > MAX_PRIORITY:
        found.append(Violation("priority", f"must be 0 to {MAX_PRIORITY}"))
    if message.mode not in _MODES:
        found.append(Violation("mode", "must be MODE_DIRECT or MODE_QUEUED"))
    return found
