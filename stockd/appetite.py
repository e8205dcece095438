"""How many units an escrow should hold: the one difference between the policies `exact` and `escrow`.

`exact` holds only what waiting orders need. `escrow` takes some seconds of demand ahead, so that orders are served
from memory and go on being served while the ledger is away; never more than its share of what is available, so that it
shrinks to single units as stock runs out and little can be stranded anywhere. A server that sells many SKUs at once
takes more of each ahead, because refilling all of them every half second would be more than the ledger can do.
"""

import math

AVERAGED_OVER_S = 1.0
"""Demand is what was asked for within about this time. Long enough to be no ripple, short enough to follow a sale."""

AHEAD_S = 3.0
"""Demand taken ahead. More is taken when half of it is left, so whenever the ledger falls silent there is enough for a
second and a half. A ledger that lost a node answers again within two, and an order may wait for the rest of that."""

LONGEST_AHEAD_S = 30.0
"""With thousands of SKUs. What a server has taken is out of reach for others until its demand has faded for so long,
and is waited for when it dies; the share of what is available bounds it all the same."""

REFILLS_PER_S = 100
"""That all servers together may ask of the ledger before they take more ahead. A Cassandra node of one core does about
a thousand conditional writes a second, restocks and first takes included, and each costs what some ten orders cost."""

REFILLS_PER_HORIZON = 2
"""A SKU is refilled when half of what is wanted ahead is left."""

REFILL_BELOW = 0.5
"""Share of what is wanted ahead below which more is taken, while the rest still sells."""

KEEP_UP_TO = 2.0
"""Share of what is wanted ahead above which the rest goes back: demand has moved away. Far from REFILL_BELOW, so that
a steady demand neither takes nor returns for its own ripple."""

OVER_AFTER_FADES = 2.0
"""Not asked for in so many times `fade_s`: all that is left goes back. By what is too much each time it went back by
halves, in eight conditional writes for each of 1,000 SKUs, and now in three (docs/decisions/0043)."""


def horizon_s(skus: float, servers: int) -> float:
    """How much demand to take ahead of each SKU, so that the ledger can keep up with as many SKUs at each server."""
    return min(max(AHEAD_S, skus * servers * REFILLS_PER_HORIZON / REFILLS_PER_S), LONGEST_AHEAD_S)


def fade_s(horizon_s: float) -> float:
    """How long units that were taken for so long ahead may not be asked for until demand counts as a third of what it
    was. Of a SKU that sells one in a while, what was taken for the next half minute must not go back after every order.
    """
    return AVERAGED_OVER_S * horizon_s / AHEAD_S


class Demand:
    """Units asked for per second, averaged over about AVERAGED_OVER_S."""

    __slots__ = ("_lasts", "_rate_per_s", "_seen_at")

    def __init__(self) -> None:
        self._rate_per_s = 0.0
        self._lasts = False
        self._seen_at = -math.inf

    def asked(self, units: int, now: float, fade_s: float) -> None:
        """`fade_s`: as the function of that name has it. Who has asked longer ago does not make this one a demand: one
        order alone does not say that more will come.
        """
        self._lasts = now - self._seen_at <= fade_s
        self._rate_per_s = self.rate_per_s(now) + units / AVERAGED_OVER_S
        self._seen_at = now

    @property
    def expected_then_per_s(self) -> float:
        """As `expected_per_s`, when units were last asked for."""
        return self._rate_per_s if self._lasts else 0.0

    def expected_per_s(self, now: float, fade_s: float) -> float:
        """What is worth taking ahead for: the rate, if it is more than one order and not over."""
        return self.rate_per_s(now) if self._lasts and not self._is_over(now, fade_s) else 0.0

    def kept_per_s(self, now: float, fade_s: float) -> float:
        """What is worth keeping units for that are there: the rate as it fades in that time, until it is over."""
        return 0.0 if self._is_over(now, fade_s) else self._faded(now, fade_s)

    def rate_per_s(self, now: float) -> float:
        return self._faded(now, AVERAGED_OVER_S)

    def _faded(self, now: float, fade_s: float) -> float:
        return self._rate_per_s * math.exp((self._seen_at - now) / fade_s)

    def _is_over(self, now: float, fade_s: float) -> bool:
        """Whether nobody has asked for so long that no more is expected."""
        return now - self._seen_at > OVER_AFTER_FADES * fade_s

    @property
    def seen_at(self) -> float:
        """When units were last asked for."""
        return self._seen_at


class Breadth:
    """How many SKUs are asked for within about AVERAGED_OVER_S."""

    __slots__ = ("_before", "_count", "_servers", "_since")

    def __init__(self) -> None:
        self._servers = 1
        self._since = -math.inf
        self._count = 0
        self._before = 0

    def asked(self, demand: Demand, now: float) -> None:
        """To be told before `demand` is."""
        if now - self._since >= AVERAGED_OVER_S:
            self._before = self._count if now - self._since < 2 * AVERAGED_OVER_S else 0
            self._count = 0
            self._since = now
        if demand.seen_at < self._since:
            self._count += 1

    def know_servers(self, count: int) -> None:
        """How many stock servers live. Each is taken to sell as many SKUs as this one."""
        self._servers = count

    def horizon_s(self) -> float:
        """How much demand to take ahead of each SKU."""
        return horizon_s(max(self._before, self._count), self._servers)

    def fade_s(self) -> float:
        """As the function of that name has it, for as much."""
        return fade_s(self.horizon_s())


def ahead(rate_per_s: float, horizon_s: float, available: int, owners: int) -> int:
    """Units to hold beyond those that orders wait for, with `available` in the ledger and `owners` servers that may
    want some. Half a fair share: whoever asks next finds as much.
    """
    return min(math.floor(rate_per_s * horizon_s), available // (2 * owners))


def suffices(free: int, rate_per_s: float, horizon_s: float) -> bool:
    """Whether nobody would refill, whatever the ledger has: `ahead` is never more than the demand."""
    return free >= rate_per_s * horizon_s * REFILL_BELOW


def wants_refill(free: int, wanted: int) -> bool:
    return free < wanted * REFILL_BELOW


def surplus(free: int, wanted: int) -> int:
    """Units that should go back."""
    return free - wanted if free > wanted * KEEP_UP_TO else 0
