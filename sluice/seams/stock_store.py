"""The seam to the stock store: the ledger of design §3.1, with the same meaning on every implementation.

One partition per SKU: `available` and `policy`, one row per restock, one row per incarnation that ever held units.
Only conditional writes. Conservation holds at every moment: sum of restocks = available + sum of units held.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol
from uuid import UUID

from sluice.model import StockPolicy


class Row(NamedTuple):
    """What a restock's or an incarnation's row holds. `version` counts the writes to the row and never goes back.

    The units of an incarnation's row are negative if it gave more to `available` than it took: units of orders that
    were cancelled came back to it.

    Units alone are no guard: a row may come back to a value that it had (give back 3, take 3), and a late copy of an
    old "give back" would then apply again and release units that are being sold.
    """

    units: int
    version: int


class Applied(NamedTuple):
    """The conditional write took effect."""


class Refused(NamedTuple):
    """The condition did not hold. What the rows said at that moment; `row` is None if there is no such row."""

    available: int
    row: Row | None


class NoSuchSku(NamedTuple):
    """The SKU was never created."""


WriteOutcome = Applied | Refused | NoSuchSku


class Consistency(Enum):
    """How fresh a read must be. Stores with a single copy treat all alike."""

    STRONG = "strong"
    QUORUM = "quorum"
    LOCAL = "local"


class Ledger(NamedTuple):
    """All rows of one SKU as one read saw them. `restocks` by restock id, `held` by incarnation."""

    sku: str
    policy: StockPolicy
    available: int
    restocks: Mapping[UUID, int]
    held: Mapping[UUID, Row]


class SkuSummary(NamedTuple):
    sku: str
    policy: StockPolicy
    available: int


class SkuPage(NamedTuple):
    """`next_after` is the `after` of the next page, None on the last."""

    skus: Sequence[SkuSummary]
    next_after: str | None


class StockStore(Protocol):
    """Every method raises StoreUnreachable. Where `outcome_unknown` is set the same write may be sent again: its
    guard makes that harmless, and a refusal that shows the wanted value means that it had been applied.
    """

    async def create_sku(self, sku: str, policy: StockPolicy) -> StockPolicy | None:
        """Creates the SKU with nothing available. None: created; else it stood already, with the policy returned."""
        ...

    async def restock(self, sku: str, restock_id: UUID, units: int) -> WriteOutcome:
        """Adds `units` under `restock_id` if that row is not there. `Refused.row` is what is there."""
        ...

    async def take(self, sku: str, incarnation: UUID, before: Row | None, count: int) -> WriteOutcome:
        """Moves `count` units from available to the incarnation's row, if the row is `before` (None: no row) and
        `available >= count`. A negative `count` gives back units that the incarnation has, taken or come back to it.
        The row becomes `(before.units + count, before.version + 1)`; a first write makes version 1.
        """
        ...

    async def fold(self, sku: str, incarnation: UUID, before: Row | None, sold: int) -> WriteOutcome:
        """Shrinks a fenced incarnation's row from `before` (None: no row) to what it sold, which is negative if more
        came back to it than it sold, raises its version and returns the rest to available. May be repeated at any time,
        and must be: a late write of a zombie may strand units again.
        """
        ...

    async def note_holder(self, incarnation: UUID, sku: str) -> None:
        """Notes that the incarnation may come to hold units of the SKU, before its first take, so that a successor
        finds what to fold. Idempotent.
        """
        ...

    async def skus_noted(self, incarnation: UUID) -> Sequence[str]:
        """Every SKU noted for the incarnation."""
        ...

    async def read(self, sku: str, consistency: Consistency) -> Ledger | None:
        """The SKU's rows, None if it was never created."""
        ...

    async def list_skus(self, after: str | None, limit: int) -> SkuPage:
        """A page of SKUs in an order of the store's own, the same for every page."""
        ...

    async def ping(self) -> None:
        """Returns if the store answers now."""
        ...

    async def close(self) -> None: ...
