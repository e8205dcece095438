"""What the driver raises says whether a write may have happened. Only bugs keep their own type."""

import pytest
from cassandra import (
    InvalidRequest,
    OperationTimedOut,
    ReadTimeout,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
    WriteType,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException, ConnectionShutdown
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ServerError,
    SyntaxException,
)

from sluice.errors import StoreUnreachable
from stockd.stores.cassandra_session import CAS_WRITE_UNKNOWN, _translated


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("too few replicas", required_replicas=2, alive_replicas=1),
        NoHostAvailable("nobody there", {}),
    ],
)
def test_what_was_never_sent_did_not_happen(error: Exception) -> None:
    told = _translated(error)
    assert isinstance(told, StoreUnreachable)
    assert not told.outcome_unknown


@pytest.mark.parametrize(
    "error",
    [
        WriteTimeout("slow replicas", write_type=WriteType.CAS),
        WriteFailure("failed replicas", write_type=WriteType.CAS),
        ReadTimeout("slow replicas"),
        OperationTimedOut(),
        ConnectionShutdown("connection closed"),
        ConnectionException("connection reset"),
        OverloadedErrorMessage(0x1001, "overloaded", None),
        IsBootstrappingErrorMessage(0x1002, "bootstrapping", None),
        ServerError(0x0000, "shutting down", None),
        ErrorMessage(CAS_WRITE_UNKNOWN, "CAS write unknown", None),
    ],
)
def test_what_may_have_been_seen_by_a_server_may_have_happened(error: Exception) -> None:
    told = _translated(error)
    assert isinstance(told, StoreUnreachable)
    assert told.outcome_unknown


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("no such column"),
        Unauthorized("no MODIFY"),
        SyntaxException(0x2000, "line 1:0", None),
        ErrorMessage(0x9999, "unheard of", None),
        ValueError("wrong type bound"),
    ],
)
def test_a_bug_is_not_called_an_outage(error: Exception) -> None:
    assert _translated(error) is error
