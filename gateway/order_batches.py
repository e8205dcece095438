"""One batch of a `PlaceOrders` stream: what is wanted of its orders, and the answers as they come."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gateway.batch_reading import OrderBatch
from gateway.group import Group
from gateway.messages import batch_answer, queued_answer, refusal_result
from gateway.outcomes import Reason, Refused
from gateway.queueing import Queueing
from sluice._gen.orders.v1 import orders_pb2
from sluice.model import MAX_ORDERS_PER_BATCH, NewOrder

Answer = Callable[..., orders_pb2.PlaceOrdersResponse]
"""Made when it is known whether it is the batch's last: `done`."""


async def decided(batch_id: int, group: Group) -> Answer:
    return partial(batch_answer, batch_id, group.orders, await group.decided())


async def queued(batch_id: int, orders: Sequence[NewOrder], queueing: Queueing) -> Answer:
    return partial(queued_answer, batch_id, orders, await queueing.queue(orders))


class SortedOut(NamedTuple):
    """The good orders, by what is wanted of them, and a result for each bad one; all are bad if there are too many."""

    to_decide: Sequence[NewOrder]
    to_queue: Sequence[NewOrder]
    results: list[orders_pb2.OrderResult]


def sort_out(batch: OrderBatch) -> SortedOut:
    _, to_decide, to_queue, bad = batch
    if len(to_decide) + len(to_queue) + len(bad) > MAX_ORDERS_PER_BATCH:
        too_many = Refused(Reason.INVALID_ORDER, f"orders: a batch has at most {MAX_ORDERS_PER_BATCH} orders")
        return SortedOut([], [], [refusal_result(order_id, too_many) for order_id in batch.order_ids()])
    results = []
    for place, order_id, violations in bad:
        text = "; ".join(f"orders[{place}].{field}: {description}" for field, description in violations)
        results.append(refusal_result(order_id, Refused(Reason.INVALID_ORDER, text)))
    return SortedOut(to_decide, to_queue, results)
