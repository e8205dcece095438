"""Failures as gRPC tells them: a status code, and a `google.rpc.Status` with details that programs can act on."""

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

ERROR_DOMAIN = "sluice"
DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"


class RpcFailure(Exception):
    """An answer that is not OK. `violations` are (field, description); `retry_after_s` invites to send again."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = metadata or {}
        self.violations = violations
        self.retry_after_s = retry_after_s

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        details = [error_details_pb2.ErrorInfo(reason=self.reason, domain=ERROR_DOMAIN, metadata=self.metadata)]
        if self.violations:
            field_violations = [
                error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
                for field, description in self.violations
            ]
            details.append(error_details_pb2.BadRequest(field_violations=field_violations))
        trailers: list[tuple[str, str | bytes]] = []
        if self.retry_after_s is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(self.retry_after_s * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
            trailers.append((PUSHBACK_KEY, str(int(self.retry_after_s * 1000))))
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)
        trailers.append((DETAILS_KEY, status.SerializeToString()))
        return tuple(trailers)


def invalid(violations: Sequence[tuple[str, str]], reason: str = "INVALID_ARGUMENT") -> RpcFailure:
    """INVALID_ARGUMENT with every bad field named, in the message for people and in BadRequest for programs."""
    message = "; ".join(f"{field}: {description}" for field, description in violations)
    return RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, reason, message, violations=violations)


def failure_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The rich status that a failed call carries, if it does. For clients."""
    for key, value in tuple(error.trailing_metadata() or ()):
        if key == DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return None


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The `reason` of the failed call's ErrorInfo, or an empty string."""
    status = failure_of(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""
