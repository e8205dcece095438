"""Why a batch of transitions was refused: which of its orders are not at the version that it names."""

from collections.abc import Mapping

from journal.protocol import OrdersMoved, TransitionBatch
from sluice.model import Order


def orders_moved(batch: TransitionBatch, found: Mapping[str, Order]) -> OrdersMoved:
    """`found`: those of the batch that stand. Raises ValueError if all are where they should be: then the batch names
    one of them twice.
    """
    moved = {
        order.order_id: found.get(order.order_id)
        for order, *_ in batch.transitions
        if order.order_id not in found or found[order.order_id].version != order.version
    }
    if not moved:
        raise ValueError("the batch names an order twice")
    return OrdersMoved(moved)
