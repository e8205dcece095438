"""One batch of a `PlaceOrders` stream: what is wanted of its orders, and the answers as they come."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from gateway.messages import batch_answer, queued_answer, refusal_result
from gateway.outcomes import Reason, Refused
from gateway.placing import Group
from gateway.queueing import Queueing
from gateway.validation import parse_order
from sluice._gen.orders.v1 import orders_pb2
from sluice.model import MAX_ORDERS_PER_BATCH, NewOrder
from sluice.trace_context import TraceContext

Answer = Callable[..., orders_pb2.PlaceOrdersResponse]
"""Made when it is known whether it is the batch's last: `done`."""


async def decided(batch_id: int, group: Group) -> Answer:
    return partial(batch_answer, batch_id, group.orders, await group.decided())


async def queued(batch_id: int, orders: Sequence[NewOrder], queueing: Queueing) -> Answer:
    return partial(queued_answer, batch_id, orders, await queueing.queue(orders))


class ParsedBatch(NamedTuple):
    """The good orders, by what is wanted of them, and a result for each bad one; all are bad if there are too many."""

    to_decide: Sequence[NewOrder]
    to_queue: Sequence[NewOrder]
    results: list[orders_pb2.OrderResult]


def parse_batch(request: orders_pb2.PlaceOrdersRequest, trace: TraceContext | None) -> ParsedBatch:
    to_decide: list[NewOrder] = []
    to_queue: list[NewOrder] = []
    results: list[orders_pb2.OrderResult] = []
    if len(request.orders) > MAX_ORDERS_PER_BATCH:
        too_many = Refused(Reason.INVALID_ORDER, f"orders: a batch has at most {MAX_ORDERS_PER_BATCH} orders")
        return ParsedBatch([], [], [refusal_result(message.order_id, too_many) for message in request.orders])
    for index, message in enumerate(request.orders):
        order = parse_order(message, trace)
        if isinstance(order, NewOrder):
            (to_queue if message.mode == orders_pb2.MODE_QUEUED else to_decide).append(order)
        else:
            text = "; ".join(f"orders[{index}].{field}: {description}" for field, description in order)
            results.append(refusal_result(message.order_id, Refused(Reason.INVALID_ORDER, text)))
    return ParsedBatch(to_decide, to_queue, results)
