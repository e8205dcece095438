"""What one stock server knows of a SKU with the policy `counter`, and how much of it it may sell from that.

Pure bookkeeping. The server sees what the others have counted as of its last read, and knows exactly what it sold
itself. What it sold or granted and has not counted yet no other server can see: that is what may be sold twice, so it
has a hard limit, whatever happens to reads, additions, servers and time. The proof is in docs/policies.md.
"""

from uuid import UUID

from sluice.counting import UNCOUNTED_CAP, counted_by, open_sellers
from sluice.seams.stock_store import Cell, Counts


class Tally:
    """Units of one SKU as one incarnation counts them."""

    __slots__ = (
        "_in_cell",
        "_others",
        "_restocked",
        "_seen_by_all",
        "_sellers",
        "away",
        "cap",
        "cell",
        "counted",
        "joined",
        "look_at",
        "on_its_way",
        "read_at",
        "sold",
        "waited",
    )

    def __init__(self, incarnation: UUID, sold: int, cap: int = UNCOUNTED_CAP) -> None:
        """`sold`: what the incarnation sold before it knew the SKU's policy. Not positive: of units that came back."""
        self.sold = sold
        self.cap = cap
        self.cell = Cell(incarnation, 0)
        self.counted = 0  # in closed cells, or added and answered
        self._in_cell = 0  # the part of it that is in the cell now in use
        self.on_its_way = 0  # an addition without an answer
        self._seen_by_all = 0  # the least that any read may have shown of ours since our own last read began
        self._others = 0
        self._restocked = 0
        self._sellers = 1
        self.joined = False
        self.read_at: float | None = None
        self.look_at = 0.0  # not earlier, unless somebody waits
        self.away = False
        self.waited = False  # for units in doubt, and nobody settled any

    def pending(self) -> int:
        """What the next addition carries."""
        return self.sold - self.counted - self.on_its_way

    def all_counted(self) -> bool:
        return self.sold == self.counted and not self.on_its_way

    def send(self) -> int:
        """The units of an addition that leaves now: from here on others may see them or not."""
        self.on_its_way = self.pending()
        self._seen_by_all = min(self._seen_by_all, self.counted + self.on_its_way)
        return self.on_its_way

    def was_not_sent(self) -> None:
        self.on_its_way = 0

    def was_added(self) -> None:
        self.counted += self.on_its_way
        self._in_cell += self.on_its_way
        self.on_its_way = 0

    def to_close(self) -> int:
        """What the cell should hold, though nobody knows whether it does."""
        return self._in_cell + self.on_its_way

    def was_closed(self) -> None:
        self.counted += self.on_its_way
        self._in_cell = 0
        self.on_its_way = 0
        self.cell = Cell(self.cell.incarnation, self.cell.number + 1)

    def saw(self, restocked: int, counts: Counts, owners: int, now: float) -> None:
        """A read that began when nothing was on its way. `owners`: over how many servers the SKU is spread; those
        that have not sold yet are about to.
        """
        assert not self.on_its_way, "a read must follow the addition, or it may or may not show it"
        by_incarnation = counted_by(counts)
        by_incarnation.pop(self.cell.incarnation, None)
        self._others = sum(by_incarnation.values())
        self._sellers = max(owners, len(open_sellers(counts)))
        self._restocked = restocked
        self._seen_by_all = self.counted
        self.read_at = now
        self.away = False

    def left(self, in_doubt: int) -> int:
        """Units that exist and are not sold or granted, as far as is known. Negative: more are sold than there were."""
        return self._restocked - self._others - self.sold - in_doubt

    def uncounted(self, in_doubt: int) -> int:
        """Units sold or granted that some other server may not see."""
        return in_doubt + max(0, self.sold - self._seen_by_all)

    def grantable(self, in_doubt: int, next_quantity: int) -> int:
        """Units that may be granted now, to orders of which the first wants `next_quantity`."""
        return max(0, min(self.left(in_doubt), self._share(next_quantity) - self.uncounted(in_doubt)))

    def _share(self, next_quantity: int) -> int:
        """How much may be uncounted. All of the cap while plenty is left; less as stock runs out, so that servers do
        not all sell the same last units. An order that wants more than a share may have it once all else is counted;
        and nobody is kept waiting for the others' sake when a gateway has died with units in doubt.
        """
        if self.waited:
            return min(self.cap, self._restocked)
        seen = self._restocked - self._others - self.counted
        fair = seen if self._sellers <= 1 else seen // (2 * self._sellers)
        return min(self.cap, self._restocked, max(fair, next_quantity))
