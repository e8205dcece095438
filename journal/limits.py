"""Who would have more than a limit allows, in the order in which they came."""

from collections.abc import Mapping, Sequence

from journal.protocol import CustomerLimit
from sluice.model import NewOrder


def orders_beyond(
    limits: Mapping[str, int], counted: Mapping[tuple[str, str], int], orders: Sequence[NewOrder]
) -> dict[str, CustomerLimit]:
    """By order id, the limit that an order goes beyond. `counted`: what (customer, SKU) has already; those who come
    first get what is left, and what is refused takes nothing from those after it.
    """
    have = dict(counted)
    beyond: dict[str, CustomerLimit] = {}
    for order_id, customer_id, lines, *_ in orders:
        limited = [(sku, quantity) for sku, quantity in lines if sku in limits]
        over = [sku for sku, quantity in limited if have.get((customer_id, sku), 0) + quantity > limits[sku]]
        if over:
            beyond[order_id] = CustomerLimit(over[0], limits[over[0]])
            continue
        for sku, quantity in limited:
            have[customer_id, sku] = have.get((customer_id, sku), 0) + quantity
    return beyond
