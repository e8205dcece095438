"""What the counts of a SKU with the policy `counter` say, and the bounds that hold for it.

The proof of the bounds is in docs/policies.md; tests/unit/counter_engine checks them against every history.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

from sluice.seams.stock_store import ALL_CELLS, Counts

UNCOUNTED_CAP = 1_000
"""Units of one SKU that a stock server may have sold or granted beyond those that every other can see. A constant, no
setting: whoever publishes the bound and whoever keeps it must agree. A unit is uncounted for the time of a commit, an
addition and a read, some 30 ms, so it allows about 30,000 units a second of one SKU and server. An order for more units
of one SKU cannot be served at all."""


def counted_by(counts: Counts) -> dict[UUID, int]:
    """Units that count for each incarnation."""
    units: dict[UUID, int] = {}
    for cell in counts.added.keys() | counts.closed.keys():
        if cell.number != ALL_CELLS:
            value = counts.closed[cell] if cell in counts.closed else counts.added[cell]
            units[cell.incarnation] = units.get(cell.incarnation, 0) + value
    for cell, stated in counts.closed.items():
        if cell.number == ALL_CELLS:
            units[cell.incarnation] = stated
    return units


def counted(counts: Counts) -> int:
    """Units that count as sold. Below what is sold by what servers have not counted yet."""
    return sum(counted_by(counts).values())


def open_sellers(counts: Counts) -> set[UUID]:
    """Incarnations that may still sell, or whose last sales may not be counted yet."""
    return {cell.incarnation for cell in counts.added} - closed_sellers(counts)


def closed_sellers(counts: Counts) -> set[UUID]:
    """Incarnations that sell no more, and of which it is stated what they sold."""
    return {cell.incarnation for cell in counts.closed if cell.number == ALL_CELLS}


def max_oversell(counts: Counts, restocked: int, cap: int = UNCOUNTED_CAP) -> int:
    """At most so many units are sold beyond what exists, now and as long as no further incarnation starts to sell."""
    sellers = open_sellers(counts)
    uncounted = min(cap, restocked)
    if len(sellers) == len(counted_by(counts)):
        # Of all that ever sold it, whoever saw the newest counts sells no more than is left.
        return max(0, len(sellers) - 1) * uncounted
    return max(0, counted(counts) - restocked) + len(sellers) * uncounted


def max_undersell(counts: Counts, restocked: int, sold: int, cap: int = UNCOUNTED_CAP) -> int:
    """At most so many units may be unsold while buyers hear "sold out". `sold` as the journal says."""
    # In doubt: among those not counted. Counted too high: returned units whose addition has not been made yet.
    unseen = counted(counts) - sold + len(open_sellers(counts)) * min(cap, restocked)
    return max(0, min(unseen, restocked - sold))


def drift(counts: Counts, spent: Mapping[UUID, int], of: Iterable[UUID]) -> dict[UUID, int]:
    """Counted minus sold, for each incarnation in `of` for which they differ. `spent` is what the journal says of the
    SKU. For one that may still sell, this is also what it sold and will count within the refresh interval.
    """
    by_incarnation = counted_by(counts)
    differences = {incarnation: by_incarnation.get(incarnation, 0) - spent.get(incarnation, 0) for incarnation in of}
    return {incarnation: units for incarnation, units in differences.items() if units}
