"""Which calls are let in when more arrive than can be served: those beyond are told so before they cost anything.

A crowd that comes at one moment is no overload: it is served within a second or two, first come, first served. Overload
is a queue that does not go away. It is measured as the number of calls that wait, whatever for, against the best rate
at which they were let in lately: with as many waiting as are let in in the longest wait allowed, the next waits that
long. Those that are refused do not count, because they take little time. Who came last is refused: all others keep
their place.
"""

import math

MIN_WAITING = 256
"""So many calls may wait however slow the machine: fewer callers, each waiting for its answer, are never refused. It is
enough, too, to fill the batches that make orders cheap."""

RETRY_WHEN_OVERLOADED_S = 0.5
"""Several times the longest wait: whoever comes back sooner is one more call to refuse."""

MEMORY_S = 2 * RETRY_WHEN_OVERLOADED_S
"""Whoever was overloaded so lately is so again once the queue is too long: it is short because it is kept so, or those
who were refused have not come back yet. Not longer: who comes after that is a crowd, and would be served as one."""

RATE_WEIGHT_S = 0.5
"""The rate is that of about the last half second: long against one batch, short against a crowd."""

BEST_RATE_FADES_S = 30.0
"""What may wait is measured by the best rate of about this time. By the present one, a gateway that has once become
slow lets so few wait that it stays slow: 6,600 orders/s, and the rest refused, where 9,000 were offered and can be
served (measured).
"""


class Admission:
    """Told by `look` how things stand; says by `room` how many calls may wait to be taken up."""

    def __init__(self, *, max_wait_s: float, crowd_s: float, max_crowd: int) -> None:
        """`crowd_s`: a queue that has been too long for this long is no crowd any more. `max_crowd`: calls."""
        self._crowd_s = crowd_s
        self._max_crowd = max_crowd
        self._max_wait_s = max_wait_s
        self._deciding = 0
        self._looked: float | None = None
        self._let_in = 0
        self._rate = 0.0
        self._best_rate = 0.0
        self._long_since: float | None = None
        self._overloaded_until = -math.inf
        self._refused_lately = False

    def __enter__(self) -> None:
        """Around a call that was let in, while it is being decided."""
        self._deciding += 1

    def __exit__(self, *failed: object) -> None:
        self._deciding -= 1

    @property
    def max_waiting(self) -> int:
        """Of calls, those included that are being decided, when more arrive than can be served."""
        return max(MIN_WAITING, int(self._best_rate * self._max_wait_s))

    def room(self, now: float) -> int:
        """How many calls may wait to be taken up. Those that find more before them are to be refused."""
        most = self.max_waiting if now < self._overloaded_until else self._max_crowd
        return max(0, most - self._deciding)

    def refused(self) -> None:
        """One call, because there was no room."""
        self._refused_lately = True

    def look(self, now: float, let_in: int, pending: int) -> None:
        """`let_in`: calls so far. `pending`: those that have arrived and were neither let in nor refused."""
        self._measure_rate(now, let_in)
        too_long = pending + self._deciding > self.max_waiting or self._refused_lately
        self._refused_lately = False
        if not too_long:
            self._long_since = None
            return
        if self._long_since is None:
            self._long_since = now
        if now < self._overloaded_until or now - self._long_since >= self._crowd_s:
            self._overloaded_until = now + MEMORY_S

    def _measure_rate(self, now: float, let_in: int) -> None:
        if self._looked is not None:
            passed = now - self._looked
            self._rate = (self._rate * RATE_WEIGHT_S + let_in - self._let_in) / (passed + RATE_WEIGHT_S)
            self._best_rate = max(self._rate, self._best_rate * math.exp(-passed / BEST_RATE_FADES_S))
        self._looked = now
        self._let_in = let_in
