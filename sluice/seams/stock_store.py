"""The seam to the stock store: the ledger of design §3.1, with the same meaning on every implementation.

Of each SKU `available` and `policy`, one row per restock, one row per incarnation that ever held units. A withdrawal is
a restock of fewer units than none. Only conditional writes. Conservation holds at every moment: sum of restocks =
available + sum of units held.

SKUs with the policy `counter` have restocks only; beside the ledger each incarnation counts what it sells of them. An
addition to a counter cannot be guarded as the ledger's writes are: sent twice it counts twice. So it is sent once. When
its outcome is unknown its cell is closed with what it should hold, and the next one opened: however late the addition
lands, nobody looks at it.
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
    """All rows of one SKU as one read saw them. `restocks` by restock id, those of withdrawals negative; `held` by
    incarnation. `owners`: over how many stock servers its orders are to be spread.
    """

    sku: str
    policy: StockPolicy
    available: int
    restocks: Mapping[UUID, int]
    held: Mapping[UUID, Row]
    owners: int = 1


class Head(NamedTuple):
    """What is said of a SKU as a whole; see Ledger."""

    policy: StockPolicy
    available: int
    owners: int = 1


class SkuSummary(NamedTuple):
    sku: str
    policy: StockPolicy
    available: int


class SkuPage(NamedTuple):
    """`next_after` is the `after` of the next page, None on the last."""

    skus: Sequence[SkuSummary]
    next_after: str | None


ALL_CELLS = -1
"""The number under which what a fenced incarnation sold is stated: it counts instead of all of its cells."""


class Cell(NamedTuple):
    """A counter to which only `incarnation` adds. Its first has number 0."""

    incarnation: UUID
    number: int


class Counts(NamedTuple):
    """All cells of one SKU. `added` are the sums of the additions; `closed` what counts instead, where it is given."""

    added: Mapping[Cell, int]
    closed: Mapping[Cell, int]


class StockStore(Protocol):
    """Every method raises StoreUnreachable. Where `outcome_unknown` is set the same write may be sent again: its
    guard makes that harmless, and a refusal that shows the wanted value means that it had been applied. Only `add_sold`
    has no guard.
    """

    @property
    def skus_at_once(self) -> int:
        """Of how many SKUs one stock server should ask at a time: so many that what can share a request does, so few
        that none waits so long inside the store that it is given up.
        """
        ...

    async def create_sku(self, sku: str, policy: StockPolicy) -> StockPolicy | None:
        """Creates the SKU with nothing available. None: created; else it stood already, with the policy returned."""
        ...

    async def spread(self, sku: str, owners: int) -> bool:
        """Says over how many stock servers the SKU's orders are to be spread. False: there is no such SKU."""
        ...

    async def restock(self, sku: str, restock_id: UUID, units: int) -> WriteOutcome:
        """Adds `units` under `restock_id` if that row is not there. `Refused.row` is what is there."""
        ...

    async def withdraw(self, sku: str, withdrawal_id: UUID, units: int) -> WriteOutcome:
        """Takes `units` of what is available away under `withdrawal_id`, if so many are and that row is not there.
        `Refused.row` is what is there: of a withdrawal, its units as a negative number.
        """
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

    async def note_held(self, incarnation: UUID, skus: Sequence[str]) -> None:
        """Notes that the incarnation may come to hold units of these SKUs, before its first take of each, so that a
        successor finds what to fold. Idempotent; if it fails, some may be noted.
        """
        ...

    async def skus_noted(self, incarnation: UUID) -> Sequence[str]:
        """Every SKU noted for the incarnation."""
        ...

    async def rows(self, incarnation: UUID, skus: Sequence[str]) -> Mapping[str, Row]:
        """The incarnation's rows of these SKUs, at a quorum; those without one are left out."""
        ...

    async def read(self, sku: str, consistency: Consistency) -> Ledger | None:
        """The SKU's rows, None if it was never created."""
        ...

    async def head(self, sku: str) -> Head | None:
        """The SKU without its rows, at a quorum; None if it was never created. Asked for many at a time."""
        ...

    async def add_sold(self, sku: str, cell: Cell, units: int) -> None:
        """Adds to a cell, which is made if it is not there: adding 0 only makes it. `units` may be negative. After
        `outcome_unknown` it must not be sent again, unless `units` is 0.
        """
        ...

    async def close_cell(self, sku: str, cell: Cell, units: int) -> None:
        """From now on `units` count for the cell. May be sent again, by anyone, with the same units."""
        ...

    async def counts(self, sku: str, consistency: Consistency) -> Counts:
        """The SKU's cells. LOCAL may miss writes that were answered; QUORUM is as good as STRONG."""
        ...

    async def list_skus(self, after: str | None, limit: int) -> SkuPage:
        """A page of SKUs in an order of the store's own, the same for every page."""
        ...

    async def careless_settings(self) -> Sequence[str]:
        """Which settings of the store may lose writes that it has answered, in words."""
        ...

    async def ping(self) -> None:
        """Returns if the store answers now."""
        ...

    async def close(self) -> None: ...
