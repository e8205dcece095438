"""When something is sent again, and for how long that goes on. Every call of the contract may be repeated."""

from collections.abc import Callable, Mapping

FIRST_PAUSE_S: Mapping[str, float] = {
    "OVERLOADED": 0.1,
    "STOCK_UNREACHABLE": 1.0,
    "JOURNAL_UNREACHABLE": 1.0,
}
"""What the interface advises for results on a stream, which carry no advice of their own. 0.1 s for all others."""

SHORTEST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""A server that is back is noticed after so long at most; half a minute of trying is some 20 attempts."""

MAX_INTERNAL = 3
"""Attempts at what the server answers with INTERNAL: a defect that three attempts meet is met by the fourth as well."""

INTERNAL = "INTERNAL"
OVERLOADED = "OVERLOADED"
UNREACHABLE = "UNREACHABLE"
DEADLINE = "DEADLINE"
CLOSED = "CLOSED"

Jitter = Callable[[], float]
"""A random number from 0 to 1."""


def pause_s(reason: str, attempts: int, jitter: Jitter, advised_s: float = 0.0) -> float:
    """How long to wait after so many attempts: doubling, never less than advised, and up to half as much again at
    random, so that callers who were refused together do not come back together.
    """
    first = FIRST_PAUSE_S.get(reason, SHORTEST_PAUSE_S)
    pause = min(first * 2.0 ** min(attempts - 1, 10), LONGEST_PAUSE_S)
    return max(pause, advised_s) * (1.0 + jitter() / 2)


def gives_up(reason: str, attempts: int) -> bool:
    return reason == INTERNAL and attempts >= MAX_INTERNAL
