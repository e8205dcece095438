"""What gRPC says of a failed call, as the errors of this client."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import grpc
from google.rpc import error_details_pb2

from sluice.client.errors import (
    CallFailed,
    CustomerLimit,
    FewerAvailable,
    InvalidCall,
    InvalidOrder,
    OrderIdReused,
    OrderNotFound,
    OutOfStock,
    RestockIdReused,
    SkuExists,
    SkuNotFound,
    SluiceError,
    SoldByCounting,
    Violation,
    WithdrawalIdReused,
    WrongState,
)
from sluice.client.retrying import DEADLINE, INTERNAL, UNREACHABLE
from sluice.rpc.failure import failure_of


class Failure(NamedTuple):
    """A failed call, taken apart. `advised_s`: when the server wants to be asked again, 0 if it does not say."""

    code: grpc.StatusCode
    message: str = ""
    reason: str = ""
    metadata: Mapping[str, str] = MappingProxyType({})
    violations: tuple[Violation, ...] = ()
    advised_s: float = 0.0


CANCELLED = Failure(grpc.StatusCode.CANCELLED, "the server, or the way to it, has cancelled the call")

_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        # Not by the caller: that is an asyncio.CancelledError. gRPC's core drops calls so when it has too many.
        grpc.StatusCode.CANCELLED,
    }
)

_HEARD = {
    grpc.StatusCode.UNAVAILABLE: UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: DEADLINE,
    grpc.StatusCode.INTERNAL: INTERNAL,
}


def read_failure(error: grpc.aio.AioRpcError) -> Failure:
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    status = failure_of(error)
    for detail in status.details if status else ():
        # Into whichever it is; the others stay empty.
        detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(retry)
    return Failure(
        error.code(),
        error.details() or "",
        info.reason,
        dict(info.metadata),
        tuple([Violation(each.field, each.description) for each in bad.field_violations]),
        retry.retry_delay.ToMilliseconds() / 1000,
    )


def heard(failure: Failure) -> str:
    """The reason, or what stands for it where gRPC itself has answered."""
    return failure.reason or _HEARD.get(failure.code, failure.code.name)


def passes(failure: Failure) -> bool:
    """Whether the same call may get another answer later."""
    return failure.code in _PASSING


def as_error(failure: Failure, asked_for: str = "") -> SluiceError:
    """Of a failure that does not pass. `asked_for` is the order of the call, which not every failure names."""
    sku = failure.metadata.get("sku", "")
    order_id = failure.metadata.get("order_id", asked_for)
    return (
        _of_placing(failure, sku, order_id)
        or _of_other_calls(failure, sku, order_id)
        or CallFailed(failure.code.name, failure.reason, failure.message)
    )


def _of_placing(failure: Failure, sku: str, order_id: str) -> SluiceError | None:
    match failure.reason:
        case "OUT_OF_STOCK":
            return OutOfStock(sku, order_id)
        case "CUSTOMER_LIMIT":
            return CustomerLimit(sku, order_id)
        case "ORDER_ID_REUSED":
            return OrderIdReused(order_id)
        case "INVALID_ORDER":
            return InvalidOrder(failure.violations, order_id)
        case _:
            return None


def _of_other_calls(failure: Failure, sku: str, order_id: str) -> SluiceError | None:
    match failure.reason:
        case "SKU_NOT_FOUND":
            return SkuNotFound(sku)
        case "ORDER_NOT_FOUND":
            return OrderNotFound(order_id)
        case "ORDER_STATE":
            return WrongState(order_id, failure.metadata.get("state", ""))
        case "INVALID_ARGUMENT":
            return InvalidCall(failure.violations)
        case "SKU_EXISTS":
            return SkuExists(sku)
        case "RESTOCK_ID_REUSED":
            return RestockIdReused(sku, failure.metadata.get("restock_id", ""))
        case "FEWER_AVAILABLE":
            return FewerAvailable(sku, int(failure.metadata.get("available", "0")))
        case "WITHDRAWAL_ID_REUSED":
            return WithdrawalIdReused(sku, failure.metadata.get("withdrawal_id", ""))
        case "COUNTER_SKU":
            return SoldByCounting(sku)
        case _:
            return None
