"""Between the domain's plain data and the public messages."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.outcomes import FINAL_REASONS, Accepted, Outcome, Queued, Reason, Refused, replayed
from sluice._gen.orders.v1 import orders_pb2
from sluice.model import NewOrder, Order, QueuePosition
from sluice.rpc.failure import RpcFailure

_CODES = {
    Reason.OUT_OF_STOCK: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.SKU_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.INVALID_ORDER: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.ORDER_ID_REUSED: grpc.StatusCode.ALREADY_EXISTS,
    Reason.CUSTOMER_LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.ORDER_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.ORDER_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OVERLOADED: grpc.StatusCode.UNAVAILABLE,
    Reason.STOCK_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.JOURNAL_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.QUEUE_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}

_TEXTS = {
    Reason.OUT_OF_STOCK: "{} is out of stock",
    Reason.SKU_NOT_FOUND: "there is no SKU {}",
    Reason.INVALID_ORDER: "{}",
    Reason.ORDER_ID_REUSED: "order {} stands with other content",
    Reason.CUSTOMER_LIMIT: "the customer would have more of {} than the limit allows",
    Reason.ORDER_NOT_FOUND: "there is no order {}",
    Reason.ORDER_STATE: "{}",
    Reason.OVERLOADED: "too many orders are being decided: send this one again later",
    Reason.STOCK_UNREACHABLE: "the stock of {} cannot be reached: send this order again later",
    Reason.JOURNAL_UNREACHABLE: "the journal cannot be reached: send this order again later",
    Reason.QUEUE_UNREACHABLE: "the queue cannot be reached: send this order again later",
    Reason.DEADLINE: "the deadline passed before the order was started",
    Reason.INTERNAL: "internal error",
}

_METADATA_KEYS = {
    Reason.OUT_OF_STOCK: "sku",
    Reason.SKU_NOT_FOUND: "sku",
    Reason.STOCK_UNREACHABLE: "sku",
    Reason.CUSTOMER_LIMIT: "sku",
    Reason.ORDER_ID_REUSED: "order_id",
    Reason.ORDER_NOT_FOUND: "order_id",
}


def refusal_text(refused: Refused) -> str:
    return _TEXTS[refused.reason].format(refused.subject or "an order's SKU")


def refusal_failure(refused: Refused) -> RpcFailure:
    """The failed unary call that `refused` amounts to."""
    key = _METADATA_KEYS.get(refused.reason)
    metadata = {key: refused.subject} if key and refused.subject else {}
    if refused.limit is not None:
        metadata["limit"] = str(refused.limit)
    return RpcFailure(
        _CODES[refused.reason],
        refused.reason.value,
        refusal_text(refused),
        metadata=metadata,
        retry_after_s=refused.retry_after_s or None,
    )


def state_failure(order: Order) -> RpcFailure:
    """The failed call of who wants of an order what its state does not allow."""
    ended = f": {order.reason}" if order.reason else ""
    return RpcFailure(
        _CODES[Reason.ORDER_STATE],
        Reason.ORDER_STATE.value,
        f"order {order.order_id} is {order.state.name}{ended}",
        metadata={"order_id": order.order_id, "state": order.state.name},
    )


def refusal_result(order_id: str, refused: Refused) -> orders_pb2.OrderResult:
    """The entry of a stream's answer that `refused` amounts to."""
    final = refused.reason in FINAL_REASONS
    return orders_pb2.OrderResult(
        order_id=order_id,
        outcome=orders_pb2.OUTCOME_REJECTED if final else orders_pb2.OUTCOME_RETRY,
        reason=refused.reason.value,
        detail=refusal_text(refused),
    )


def queued_answer(
    batch_id: int, orders: Sequence[NewOrder], outcomes: Sequence[Outcome | Queued], *, done: bool
) -> orders_pb2.PlaceOrdersResponse:
    """The answer to orders of one batch that were to be queued."""
    results = [_queued_result(order.order_id, outcome) for order, outcome in zip(orders, outcomes, strict=True)]
    return orders_pb2.PlaceOrdersResponse(batch_id=batch_id, results=results, done=done)


def _queued_result(order_id: str, outcome: Outcome | Queued) -> orders_pb2.OrderResult:
    if not isinstance(outcome, Queued):
        return _result(order_id, outcome)
    return orders_pb2.OrderResult(
        order_id=order_id,
        outcome=orders_pb2.OUTCOME_PENDING,
        replayed=outcome.replayed,
        queue_position=_position_message(outcome.position),
    )


def batch_answer(
    batch_id: int, orders: Sequence[NewOrder], outcomes: Sequence[Outcome], *, done: bool
) -> orders_pb2.PlaceOrdersResponse:
    """The answer to orders of one batch. That all of them are newly accepted is the usual case, and in it the results
    are put together as bytes: that is three times as fast as an object for each.
    """
    first = outcomes[0]
    if isinstance(first, Accepted) and not first.replayed and outcomes.count(first) == len(outcomes):
        encoded = "".join([f"\x12\x28\x0a\x24{order.order_id}\x10\x01" for order in orders])
        answer = orders_pb2.PlaceOrdersResponse.FromString(encoded.encode())
        answer.batch_id = batch_id
        answer.done = done
        return answer
    results = [_result(order.order_id, outcome) for order, outcome in zip(orders, outcomes, strict=True)]
    return orders_pb2.PlaceOrdersResponse(batch_id=batch_id, results=results, done=done)


def _result(order_id: str, outcome: Outcome) -> orders_pb2.OrderResult:
    if isinstance(outcome, Accepted):
        return orders_pb2.OrderResult(order_id=order_id, outcome=orders_pb2.OUTCOME_ACCEPTED, replayed=outcome.replayed)
    return refusal_result(order_id, outcome)


def accepted_message(order: NewOrder, accepted: Accepted) -> orders_pb2.Order:
    return orders_pb2.Order(
        order_id=order.order_id,
        customer_id=order.customer_id,
        lines=[orders_pb2.OrderLine(sku=sku, quantity=quantity) for sku, quantity in order.lines],
        state=accepted.state,  # type: ignore[arg-type]  # the stub wants its own enum class; the numbers are the same
        create_time=timestamp(accepted.create_time),
        update_time=timestamp(accepted.update_time),
        version=accepted.version,
        hold_end_time=None if order.hold is None else timestamp(accepted.create_time + order.hold),
        reason=accepted.reason,
        priority=order.priority,
    )


def _position_message(position: QueuePosition) -> orders_pb2.QueuePosition:
    return orders_pb2.QueuePosition(partition=position.partition, offset=position.offset)


def order_message(order: Order) -> orders_pb2.Order:
    message = _standing_message(order)
    if order.queue_position is not None:
        message.queue_position.CopyFrom(_position_message(order.queue_position))
    return message


def _standing_message(order: Order) -> orders_pb2.Order:
    hold = None if order.hold_end is None else order.hold_end - order.create_time
    new = NewOrder(order.order_id, order.customer_id, order.lines, hold, order.priority)
    return accepted_message(new, replayed(order))


@lru_cache(maxsize=256)
def timestamp(time: datetime) -> Timestamp:
    """For reading and copying only: orders of one transaction share their time, and so this."""
    message = Timestamp()
    message.FromDatetime(time)
    return message
