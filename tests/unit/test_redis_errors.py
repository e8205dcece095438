"""What redis-py raises says whether a write may have happened. Only bugs keep their own type."""

import asyncio

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from stockd.stores.redis_session import _translated


def replied(line: str) -> Exception:
    """What redis-py makes of a server's error reply."""
    error = BaseParser.parse_error(line)
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("Connection closed by server."),
        exceptions.TimeoutError("Timeout writing to socket"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_what_was_sent_and_not_answered_may_have_happened(error: Exception) -> None:
    told = _translated(error, sent=True)
    assert told is not None
    assert told.outcome_unknown
    told = _translated(error, sent=False)
    assert told is not None
    assert not told.outcome_unknown


@pytest.mark.parametrize(
    "line",
    [
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "CLUSTERDOWN The cluster is down",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
    ],
)
def test_what_the_server_declined_for_now_did_not_happen(line: str) -> None:
    told = _translated(replied(line), sent=True)
    assert told is not None
    assert not told.outcome_unknown


@pytest.mark.parametrize(
    "error",
    [
        replied("WRONGPASS invalid username-password pair or user is disabled."),
        replied("NOAUTH Authentication required."),
        replied("NOPERM User seller has no permissions to run the 'evalsha' command"),
        replied("WRONGTYPE Operation against a key holding the wrong kind of value"),
        replied("ERR increment or decrement would overflow"),
        replied("MOVED 3999 127.0.0.1:6381"),
        ValueError("wrong type of argument"),
        asyncio.CancelledError(),
    ],
)
def test_a_bug_is_not_called_an_outage(error: BaseException) -> None:
    assert _translated(error, sent=True) is None
