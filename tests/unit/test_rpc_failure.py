"""A failed call carries what programs act on: reason, metadata, bad fields, and when to come back."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.messages import refusal_failure, refusal_result
from gateway.outcomes import FINAL_REASONS, Reason, Refused
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc.failure import DETAILS_KEY, PUSHBACK_KEY, RpcFailure, invalid, reason_of

AS_DESIGNED = {
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


def _details(failure: RpcFailure) -> tuple[status_pb2.Status, dict[str, object]]:
    status = status_pb2.Status.FromString(dict(failure.trailing_metadata())[DETAILS_KEY])
    kinds = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)
    found = {}
    for detail in status.details:
        for kind in kinds:
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return status, found


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_code_and_is_in_the_details(reason: Reason) -> None:
    failure = refusal_failure(Refused(reason, "sku-1"))
    status, details = _details(failure)
    assert failure.code is AS_DESIGNED[reason]
    assert status.code == failure.code.value[0]
    info = details["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason) == ("sluice", reason.value)


def test_the_sku_that_is_out_of_stock_is_named_for_programs() -> None:
    _, details = _details(refusal_failure(Refused(Reason.OUT_OF_STOCK, "sku-1")))
    assert dict(details["ErrorInfo"].metadata) == {"sku": "sku-1"}  # type: ignore[attr-defined]


def test_what_may_be_sent_again_says_when() -> None:
    failure = refusal_failure(Refused(Reason.OVERLOADED, "", 0.25))
    _, details = _details(failure)
    assert details["RetryInfo"].retry_delay.ToMilliseconds() == 250  # type: ignore[attr-defined]
    assert dict(failure.trailing_metadata())[PUSHBACK_KEY] == "250"


def test_what_is_final_does_not_invite_to_send_again() -> None:
    failure = refusal_failure(Refused(Reason.OUT_OF_STOCK, "sku-1"))
    assert PUSHBACK_KEY not in dict(failure.trailing_metadata())
    assert "RetryInfo" not in _details(failure)[1]


def test_every_bad_field_is_named_for_programs_and_for_people() -> None:
    failure = invalid([("order_id", "must be a UUID"), ("lines", "must have at least one line")])
    status, details = _details(failure)
    violations = details["BadRequest"].field_violations  # type: ignore[attr-defined]
    assert [violation.field for violation in violations] == ["order_id", "lines"]
    assert status.message == "order_id: must be a UUID; lines: must have at least one line"


def test_a_client_reads_the_reason_back() -> None:
    failure = refusal_failure(Refused(Reason.OUT_OF_STOCK, "sku-1"))
    trailers = grpc.aio.Metadata(*failure.trailing_metadata())
    error = grpc.aio.AioRpcError(failure.code, grpc.aio.Metadata(), trailers)
    assert reason_of(error) == "OUT_OF_STOCK"
    assert reason_of(grpc.aio.AioRpcError(failure.code, grpc.aio.Metadata(), grpc.aio.Metadata())) == ""


@pytest.mark.parametrize("reason", Reason)
def test_a_stream_says_rejected_only_where_sending_again_does_not_help(reason: Reason) -> None:
    result = refusal_result("id", Refused(reason, "sku-1"))
    final = reason in FINAL_REASONS
    assert result.outcome == (orders_pb2.OUTCOME_REJECTED if final else orders_pb2.OUTCOME_RETRY)
    assert (result.reason, bool(result.detail)) == (reason.value, True)
