"""The seam to the tallies: what `stock-changed` tells of a SKU, added up exactly and in its order.

For SKUs that are sold by counting. Beside the orders' database, so that a tally and the position that it stands at are
written in one transaction, and so that the orders it is made of can be looked at as they stand now.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import NamedTuple, Protocol

from sluice.model import Order
from sluice.seams.event_log import Position


class Victims(Enum):
    """Which orders go first when there are more than units."""

    NEWEST_FIRST = "newest-first"
    """By their place on the log: first come, first served."""
    SMALLEST_FIRST = "smallest-first"
    """Fewest units of the SKU first, of equals the newest: the most units stay sold."""
    LOWEST_PRIORITY_FIRST = "lowest-priority-first"
    """Lowest number first, of equals the newest."""


class StockEvent(NamedTuple):
    """Units that an order bought of a SKU; negative: gave back."""

    sku: str
    order_id: str
    units: int
    position: Position


class TalliedOrder(NamedTuple):
    """An order as it stands now, and its units of the SKU."""

    order: Order
    units: int


class LiveTally(NamedTuple):
    """What is sold of a SKU by orders that the tally knows and that have their units now, and those of them that would
    go first. An order that ended counts as ended here before its event comes.
    """

    units: int
    first: Sequence[TalliedOrder]


class Tallies(Protocol):
    """Every method raises JournalUnreachable."""

    async def add(self, events: Sequence[StockEvent]) -> Mapping[str, int]:
        """Adds events of one journal, each SKU's in the order of their positions. What is not above the SKU's position
        has been added before, by whomever, and is left out. Returns the tally of each SKU that is named.
        """
        ...

    async def live(self, sku: str, victims: Victims, limit: int) -> LiveTally:
        """As of one moment. At most `limit` orders, in the order in which they would go."""
        ...

    async def skus(self) -> Sequence[str]:
        """Every SKU that has a tally."""
        ...

    def lease(self, sku: str) -> AbstractAsyncContextManager[bool]:
        """The right to decide who goes, held by one at a time; False if somebody else has it. Released on exit."""
        ...
