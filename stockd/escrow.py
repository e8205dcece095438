"""One SKU's escrow in one stock server: who waits for units, who gets them, who is told that there are none.

Pure bookkeeping; the engine does the talking to the ledger. Units of a SKU are `free` (may be granted), `in doubt`
(granted, and nobody has said yet what the journal holds), or sold and no longer here.

First come, first served within a SKU: a waiting order is granted only when everyone before it has been decided.
Nobody is told "out of stock" while units that could serve them are in doubt or promised to an order that may yet be
refused elsewhere: that is what makes "exactly as many orders as there are units" true, not just "at most".
"""

import asyncio
from collections import deque
from uuid import UUID

from sluice.model import StockPolicy
from sluice.seams.stock_keeper import Verdict
from sluice.seams.stock_store import Row
from stockd.appetite import Demand
from stockd.counter import Tally

SOLD_OUT_PATIENCE_S = 0.25
"""How long an order waits for units in doubt before it hears "out of stock". A commit and its settlement take a few
milliseconds; only a gateway that died or a journal that is away lasts longer, and then the buyer should know."""


class Request:
    """One `Reserve` batch while it is being decided. `decided` is resolved when every order has its verdict."""

    __slots__ = ("blamed", "decided", "granted", "undecided", "verdicts")

    def __init__(self, order_count: int, decided: asyncio.Future[None]) -> None:
        self.verdicts = [0] * order_count
        self.blamed = [0] * order_count
        self.undecided = order_count
        self.granted: dict[Escrow, int] = {}
        self.decided = decided

    def decide(self, place: int, verdict: Verdict, blamed: int) -> None:
        self.verdicts[place] = verdict
        self.blamed[place] = blamed
        self.undecided -= 1
        if self.undecided == 0 and not self.decided.done():
            self.decided.set_result(None)


class Escrow:
    """One SKU's units in this incarnation. `row` is what its ledger row is believed to be; None: there is none.

    A stock server keeps one for every SKU that it was ever asked for, a million perhaps. So what only a busy SKU needs
    is made when it is needed, and let go when it is not: `waiting` and `changed` would be two thirds of its memory.

    Of a SKU with the policy `counter` nothing is ever taken from the ledger: `tally` says how many units are free.
    """

    __slots__ = (
        "asked",
        "available",
        "changed",
        "demand",
        "free",
        "holder_noted",
        "in_doubt",
        "in_turns",
        "policy",
        "refill_not_before",
        "returning",
        "row_units",
        "row_version",
        "seen_at",
        "sku",
        "tally",
        "tended",
        "waiting",
    )

    def __init__(self, sku: str) -> None:
        self.sku = sku
        self.row_units = 0
        self.row_version = 0  # that of a row that is there is 1 at least
        # Learnt from the ledger when the SKU is first asked for.
        self.policy: StockPolicy | None = None
        self.tally: Tally | None = None
        self.available = 0  # in the ledger, as it was last seen; others take from it too
        self.seen_at = 0.0
        self.asked = Demand()
        self.refill_not_before = 0.0
        self.free = 0
        self.in_doubt = 0
        # Units of orders that are about to end: free when the journal says so, and never counted if it does not.
        self.returning = 0
        self.demand = 0
        self.waiting: deque[Waiter] | None = None
        self.changed: asyncio.Event | None = None
        self.tended = False
        self.holder_noted = False
        self.in_turns = False  # see Holding

    @property
    def row(self) -> Row | None:
        return Row(self.row_units, self.row_version) if self.row_version else None

    @row.setter
    def row(self, row: Row | None) -> None:
        self.row_units, self.row_version = row or (0, 0)

    def wake(self) -> None:
        """Something has changed: whoever tends it looks again."""
        if self.changed is not None:
            self.changed.set()

    def look_anew(self) -> None:
        """For who tends it: what changed so far has been seen."""
        assert self.changed is not None
        self.changed.clear()

    async def change(self) -> None:
        """For who tends it: returns when something has changed since `look_anew`."""
        assert self.changed is not None
        await self.changed.wait()


EscrowLine = tuple[Escrow, int, int]
"""(escrow, quantity, index of the SKU in the request)"""


class Waiter:
    """One order that waits for its units."""

    __slots__ = ("decided", "lines", "patience_ends", "place", "request")

    def __init__(self, request: Request, place: int, lines: list[EscrowLine]) -> None:
        self.request = request
        self.place = place
        self.lines = lines
        self.patience_ends: float | None = None  # not counted yet
        self.decided = False

    def quantity_of(self, escrow: Escrow) -> int:
        return next(quantity for candidate, quantity, _ in self.lines if candidate is escrow)

    def index_of(self, escrow: Escrow) -> int:
        return next(index for candidate, _, index in self.lines if candidate is escrow)


def enqueue(waiter: Waiter) -> None:
    for escrow, quantity, _ in waiter.lines:
        if escrow.waiting is None:
            escrow.waiting = deque()
        escrow.waiting.append(waiter)
        escrow.demand += quantity


def may_grant(escrow: Escrow, units: int) -> bool:
    """Whether they are free, nobody waits for the SKU, and it is not one that is counted."""
    return units <= escrow.free and escrow.demand == 0 and escrow.tally is None


def grant(escrow: Escrow, units: int) -> None:
    """Units that `may_grant` says may be."""
    escrow.free -= units
    escrow.in_doubt += units


def refuse(waiter: Waiter, verdict: Verdict, blamed: int) -> None:
    _leave_queues(waiter)
    waiter.request.decide(waiter.place, verdict, blamed)


def hand_out(escrow: Escrow) -> None:
    """Grants from the front of the queue as long as the free units last."""
    while (front := _front(escrow)) is not None:
        if len(front.lines) > 1:
            if not _cart_is_grantable(front):
                return
            _grant_cart(front)
            continue
        # Most orders have one line, and this is what a stock server does all day.
        quantity = front.lines[0][1]
        if quantity > escrow.free:
            return
        front.decided = True  # and so it leaves the queue when the next front is looked for
        escrow.free -= quantity
        escrow.in_doubt += quantity
        escrow.demand -= quantity
        request = front.request
        request.granted[escrow] = request.granted.get(escrow, 0) + quantity
        request.decide(front.place, Verdict.GRANTED, 0)


def refuse_hopeless(escrow: Escrow, available: int, now: float) -> int:
    """Refuses those whom neither free nor available units nor any that may come back can serve, in arrival order.

    `available` is what the ledger has just said. Returns the units that those who stay need beyond the free ones,
    at most `available`.

    Units may come back that are in doubt or of orders that are ending, or will be as soon as those ahead are granted;
    and those promised to a cart, which may be refused for another SKU. What the waiter's own request is granted is no
    hope: nobody can settle that before the request is answered.
    """
    budget = escrow.free + available
    hope = escrow.in_doubt + escrow.returning
    own: dict[Request, int] = {}
    planned = 0
    undecided = [waiter for waiter in escrow.waiting or () if not waiter.decided]
    for place, waiter in enumerate(undecided):
        request = waiter.request
        quantity = waiter.quantity_of(escrow)
        if quantity <= budget:
            budget -= quantity
            planned += quantity
            hope += quantity
            if len(waiter.lines) == 1:
                own[request] = own.get(request, 0) + quantity
            continue
        may_come_back = hope - own.get(request, 0) - request.granted.get(escrow, 0)
        if quantity <= budget + may_come_back and _has_patience(waiter, now):
            for blocked in undecided[place:]:
                _start_patience(blocked, now)
            break  # whoever came later must not overtake it
        refuse(waiter, Verdict.OUT_OF_STOCK, waiter.index_of(escrow))
    return max(0, min(available, planned - escrow.free))


def refuse_all(escrow: Escrow, verdict: Verdict) -> int:
    """How many orders that were."""
    refused = 0
    while (front := _front(escrow)) is not None:
        refuse(front, verdict, front.index_of(escrow))
        refused += 1
    return refused


def refuse_above(escrow: Escrow, limit: int) -> None:
    """Refuses those at the front who want more than `limit`, which nobody may have at once."""
    while (front := _front(escrow)) is not None and front.quantity_of(escrow) > limit:
        refuse(front, Verdict.OUT_OF_STOCK, front.index_of(escrow))


def send_back(escrow: Escrow) -> bool:
    """Lets the order in front, and the rest of its request, ask again, if units granted to that request are in its way:
    nobody can settle those before the request is answered. Returns whether they are.
    """
    front = _front(escrow)
    if front is None or not front.request.granted.get(escrow):
        return False
    for waiter in [waiter for waiter in escrow.waiting or () if waiter.request is front.request and not waiter.decided]:
        refuse(waiter, Verdict.AGAIN, waiter.index_of(escrow))
    return True


def settle(escrow: Escrow, granted: int, sold: int) -> None:
    """Ends the doubt about `granted` units of which `sold` were sold. Both are negative where units were to return."""
    if granted < 0:
        escrow.returning += granted
    else:
        escrow.in_doubt -= granted
    if escrow.tally is None:
        escrow.free += max(granted, 0) - sold
    else:
        # What is free is found anew before the next grant; until then more may have come back than may be granted.
        escrow.tally.sold += sold
        escrow.tally.waited = False
        escrow.free = 0
    escrow.wake()


def begin_counting(escrow: Escrow, incarnation: UUID) -> None:
    """The policy is `counter`. What has been free until now came back, and was never taken."""
    escrow.tally = Tally(incarnation, sold=-escrow.free - escrow.in_doubt)
    escrow.free = 0


def recount(escrow: Escrow, tally: Tally) -> None:
    front = _front(escrow)
    escrow.free = tally.grantable(escrow.in_doubt, front.quantity_of(escrow) if front else 0)


def adopt(escrow: Escrow, row: Row) -> None:
    """The row holds more than believed: a write that was given up has landed. Its units are ours to sell."""
    believed = escrow.row.units if escrow.row else 0
    assert row.units > believed, "a row below what is believed means that it was folded"
    escrow.free += row.units - believed
    escrow.row = row


def next_patience_end(escrow: Escrow, now: float) -> float | None:
    """When the next of those who wait loses patience. One who lost it before and still waits is not waiting for units
    of this SKU, and would not be refused for it.
    """
    ends = [
        waiter.patience_ends
        for waiter in escrow.waiting or ()
        if not waiter.decided and waiter.patience_ends is not None
    ]
    return min((end for end in ends if end > now), default=None)


def _start_patience(waiter: Waiter, now: float) -> None:
    """When units in doubt first keep it waiting, itself or in front of it: a slow ledger must not use patience up."""
    if waiter.patience_ends is None:
        waiter.patience_ends = now + SOLD_OUT_PATIENCE_S


def _has_patience(waiter: Waiter, now: float) -> bool:
    return waiter.patience_ends is None or now < waiter.patience_ends


def _front(escrow: Escrow) -> Waiter | None:
    waiting = escrow.waiting
    if waiting is None:
        return None
    while waiting and waiting[0].decided:
        waiting.popleft()
    if not waiting:
        escrow.waiting = None
        return None
    return waiting[0]


def _cart_is_grantable(waiter: Waiter) -> bool:
    """Whether it is at the front of all its queues, and units suffice in all."""
    return all(escrow.free >= quantity and _front(escrow) is waiter for escrow, quantity, _ in waiter.lines)


def _grant_cart(waiter: Waiter) -> None:
    granted = waiter.request.granted
    for escrow, quantity, _ in waiter.lines:
        escrow.free -= quantity
        escrow.in_doubt += quantity
        granted[escrow] = granted.get(escrow, 0) + quantity
    _leave_queues(waiter)
    waiter.request.decide(waiter.place, Verdict.GRANTED, 0)


def _leave_queues(waiter: Waiter) -> None:
    waiter.decided = True
    for escrow, quantity, _ in waiter.lines:
        escrow.demand -= quantity
    if len(waiter.lines) > 1:
        # Whoever tends the other escrows may be waiting behind this order.
        for escrow, _, _ in waiter.lines:
            escrow.wake()
