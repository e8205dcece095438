"""Turns what a client sent into a `NewOrder`, or names every field that is wrong, all of them at once."""

import re
from typing import NamedTuple

from sluice._gen.orders.v1 import orders_pb2
from sluice.model import MAX_LINE_QUANTITY, MAX_LINES_PER_ORDER, MAX_NAME_CHARS, Line, NewOrder

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_DIRECT_MODES = (orders_pb2.MODE_UNSPECIFIED, orders_pb2.MODE_DIRECT)


class Violation(NamedTuple):
    """`field` is a path like `lines[2].quantity`."""

    field: str
    description: str


def parse_order(message: orders_pb2.PlaceOrderRequest) -> NewOrder | list[Violation]:
    """The order that `message` asks for, or everything that is wrong with it."""
    order_id = message.order_id
    customer_id = message.customer_id
    lines = [Line(line.sku, line.quantity) for line in message.lines]
    if (
        _UUID.fullmatch(order_id)
        and is_name(customer_id)
        and _lines_are_good(lines)
        and message.mode in _DIRECT_MODES
        and not message.HasField("hold")
    ):
        lines.sort()
        return NewOrder(order_id.lower(), customer_id, tuple(lines))
    return _violations(message, lines)


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


def _lines_are_good(lines: list[Line]) -> bool:
    if len(lines) == 1:
        sku, quantity = lines[0]
        return is_name(sku) and 0 < quantity <= MAX_LINE_QUANTITY
    return (
        0 < len(lines) <= MAX_LINES_PER_ORDER
        and all(is_name(sku) and 0 < quantity <= MAX_LINE_QUANTITY for sku, quantity in lines)
        and len({sku for sku, _ in lines}) == len(lines)
    )


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
    if message.HasField("hold"):
        found.append(Violation("hold", "holds are not available in this version"))
    if message.mode not in _DIRECT_MODES:
        found.append(Violation("mode", "only MODE_DIRECT is available in this version"))
    return found
