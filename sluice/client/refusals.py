"""What the final answers of a stream become for callers. Their text is for people; what it says beyond the reason is
taken from it with care, and left out where it does not say it as expected.
"""

import re

from sluice.client.batches import Undecided
from sluice.client.errors import (
    CallFailed,
    CustomerLimit,
    InvalidOrder,
    OrderIdReused,
    OutOfStock,
    SkuNotFound,
    SluiceError,
    Violation,
)

_PLACE_IN_BATCH = re.compile(r"^orders\[\d+\]\.")


def refusal(order: Undecided, reason: str, detail: str) -> SluiceError:
    """The error of an order that was answered REJECTED."""
    match reason:
        case "OUT_OF_STOCK":
            return OutOfStock(_sku(order, detail), order.order_id, in_doubt=order.doubtful)
        case "CUSTOMER_LIMIT":
            return CustomerLimit(_sku(order, detail), order.order_id, in_doubt=order.doubtful)
        case "ORDER_ID_REUSED":
            return OrderIdReused(order.order_id, in_doubt=order.doubtful)
        case "SKU_NOT_FOUND":
            return SkuNotFound(_sku(order, detail), order.order_id)
        case "INVALID_ORDER":
            return InvalidOrder(_violations(detail), order.order_id)
        case _:
            return CallFailed("REJECTED", reason, detail)


def _sku(order: Undecided, detail: str) -> str:
    """The SKU that decided it: the only one, or the one that is named. Empty if that is not clear."""
    if len(order.lines) == 1:
        return order.lines[0].sku
    named = [line.sku for line in order.lines if f" {line.sku} " in f" {detail} "]
    longest = [sku for sku in named if not any(sku != other and f" {sku} " in f" {other} " for other in named)]
    return longest[0] if len(longest) == 1 else ""


def _violations(detail: str) -> tuple[Violation, ...]:
    violations = []
    for text in detail.split("; "):
        field, _, description = text.partition(": ")
        violations.append(Violation(_PLACE_IN_BATCH.sub("", field), description))
    return tuple(violations)
