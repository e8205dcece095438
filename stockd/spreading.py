"""Over how many stock servers the orders of a SKU should be spread: what people chose, and more while this one is busy.

Only advice, told to gateways with every answer. Following it badly costs speed and nothing else: several owners of a
SKU hold several escrows. So it needs no agreement: each server advises for itself, gateways follow the highest advice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sluice.model import MAX_OWNERS

SATURATED_BUSY = 0.85
"""Share of the time that the event loop computes. Above it every further order waits for those before it."""

SATURATED_WAITING = 0.5
"""Share of the orders that may wait. Above it the server is soon OVERLOADED."""

HOT_SHARE = 0.2
"""Share of all demand from which on a SKU is worth spreading. Below it the server has many SKUs, not a hot one."""

LOWER_BELOW = 0.5
"""Share of what one owner less could serve below which there is one less. Far below 1, so that a steady demand does not
go to and fro: every change moves units between escrows."""

RAISE_PAUSE_S = 2.0
"""Until gateways follow, and the load shows it."""


class _Raised(NamedTuple):
    """`capacity_per_s`: the units that were asked for when this server had too much to do."""

    owners: int
    capacity_per_s: float


class Spreading:
    def __init__(self, max_waiting_orders: int) -> None:
        self._max_waiting_orders = max_waiting_orders
        self._servers = 1
        self._chosen: dict[str, int] = {}
        self._raised: dict[str, _Raised] = {}
        self._asked: dict[str, int] | None = None
        self._not_before = 0.0

    def choose(self, sku: str, owners: int) -> None:
        """What the ledger says."""
        if owners > 1:
            self._chosen[sku] = owners
        else:
            self._chosen.pop(sku, None)

    def know_servers(self, count: int) -> None:
        """How many stock servers live: over more nothing can be spread."""
        self._servers = count

    def owners_of(self, sku: str) -> int:
        raised = self._raised.get(sku)
        return max(self._chosen.get(sku, 1), raised.owners if raised else 1)

    def advice(self, skus: Sequence[str]) -> Sequence[int]:
        """Per SKU; empty if none of them is to be spread, as mostly."""
        chosen, raised = self._chosen, self._raised
        if not chosen and not raised:
            return ()
        if not any(sku in chosen or sku in raised for sku in skus):
            return ()
        return [self.owners_of(sku) for sku in skus]

    def spread_skus(self) -> Sequence[str]:
        return [*self._chosen, *(sku for sku in self._raised if sku not in self._chosen)]

    def asked(self, units: Mapping[str, int]) -> None:
        """Counted only while the server is saturated: then it is known what saturates it."""
        if self._asked is not None:
            for sku, count in units.items():
                self._asked[sku] = self._asked.get(sku, 0) + count

    @property
    def counts(self) -> bool:
        return self._asked is not None

    def look(self, busy: float, waiting_orders: int, now: float, rate_of: Callable[[str], float]) -> None:
        """Raises and lowers. `busy`: share of the time since the last look that was spent computing."""
        if busy < SATURATED_BUSY and waiting_orders < SATURATED_WAITING * self._max_waiting_orders:
            self._asked = None
            self._lower(rate_of)
        elif self._asked is None:
            self._asked = {}
        else:
            if now >= self._not_before:
                self._raise(now, rate_of)
            self._asked = {}

    def _raise(self, now: float, rate_of: Callable[[str], float]) -> None:
        total = sum((self._asked or {}).values())
        for sku, count in (self._asked or {}).items():
            owners = self.owners_of(sku)
            if count >= HOT_SHARE * total and owners < min(self._servers, MAX_OWNERS):
                self._raised[sku] = _Raised(owners + 1, rate_of(sku))
                self._not_before = now + RAISE_PAUSE_S

    def _lower(self, rate_of: Callable[[str], float]) -> None:
        for sku, (owners, capacity_per_s) in list(self._raised.items()):
            fewer = owners - 1
            if rate_of(sku) * owners >= LOWER_BELOW * capacity_per_s * fewer:
                continue
            if fewer > self._chosen.get(sku, 1):
                self._raised[sku] = _Raised(fewer, capacity_per_s)
            else:
                del self._raised[sku]
