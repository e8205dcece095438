"""How many units an escrow should hold: the one difference between the policies `exact` and `escrow`.

`exact` holds only what waiting orders need. `escrow` takes about a second of demand ahead, so that orders are served
from memory and go on being served while the ledger is away; never more than its share of what is available, so that it
shrinks to single units as stock runs out and little can be stranded anywhere.
"""

import math

AHEAD_S = 1.0
"""Demand taken ahead. A conditional write takes some milliseconds; a second also covers a ledger that stumbles, and is
little to wait for when a server dies with it."""

REFILL_BELOW = 0.5
"""Share of what is wanted ahead below which more is taken, while the rest still sells."""

KEEP_UP_TO = 2.0
"""Share of what is wanted ahead above which the rest goes back: demand has moved away. Far from REFILL_BELOW, so that
a steady demand neither takes nor returns for its own ripple."""


class Demand:
    """Units asked for per second, averaged over about a second."""

    __slots__ = ("_rate_per_s", "_seen_at")

    def __init__(self) -> None:
        self._rate_per_s = 0.0
        self._seen_at = 0.0

    def asked(self, units: int, now: float) -> None:
        self._rate_per_s = self.rate_per_s(now) + units / AHEAD_S
        self._seen_at = now

    def rate_per_s(self, now: float) -> float:
        return self._rate_per_s * math.exp((self._seen_at - now) / AHEAD_S)


def ahead(rate_per_s: float, available: int, owners: int) -> int:
    """Units to hold beyond those that orders wait for, with `available` in the ledger and `owners` servers that may
    want some. Half a fair share: whoever asks next finds as much.
    """
    return min(math.floor(rate_per_s * AHEAD_S), available // (2 * owners))


def wants_refill(free: int, wanted: int) -> bool:
    return free < wanted * REFILL_BELOW


def surplus(free: int, wanted: int) -> int:
    """Units that should go back."""
    return free - wanted if free > wanted * KEEP_UP_TO else 0
