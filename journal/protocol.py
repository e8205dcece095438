"""The seam to the journal: orders, spends and the outbox in one relational database. The proof of what was sold.

One batch is one transaction: it goes on only if none of its incarnations is fenced and none of its reservations has a
row yet; it inserts the orders, one spends row per reservation, and one outbox row. All of it or nothing.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from sluice.model import HOLDS_UNITS, NewOrder, Order, OrderState
from sluice.slot_map import SlotMap
from sluice.trace_context import TraceContext

RECLAIM_AGAIN_S = 10.0
"""A fenced incarnation that was folded is looked at again after this long, and then each time after twice as long. A
copy of a write that was on its way lands within seconds; a zombie may wake at any time, but says so when it notices."""

RECLAIM_FOR_S = 24 * 3600.0
"""Once it has been fenced for so long the next sweep is its last: about fifteen sweeps, whatever its size. Without an
end the work would grow with every restart that there ever was."""

ReservationKey = tuple[UUID, int]
"""(incarnation, seq)"""


class Spend(NamedTuple):
    """What is sold of one reservation, by SKU. Units are positive; a return has negative units."""

    incarnation: UUID
    seq: int
    units: Mapping[str, int]


class Batch(NamedTuple):
    """One transaction. `events` is the outbox payload: `event_count` length-delimited `OutboxEvent` messages.

    `orders` may be in any order and must not name an id twice; `spends` must not name a reservation twice.
    """

    orders: Sequence[NewOrder]
    spends: Sequence[Spend]
    events: bytes
    event_count: int
    create_time: datetime


class Transition(NamedTuple):
    """One step in the life of an order: it goes on only if the order still stands at the version of `order`, which is
    the order as it was read. `reason` says why an order ends, and is empty otherwise. `trace` is of whoever makes it.
    """

    order: Order
    state: OrderState
    reason: str = ""
    trace: TraceContext | None = None

    def after(self, time: datetime) -> Order:
        """The order as it stands when the step is done."""
        return self.order._replace(
            state=self.state, version=self.order.version + 1, update_time=time, reason=self.reason
        )

    @property
    def returns_units(self) -> bool:
        return self.order.state in HOLDS_UNITS and self.state not in HOLDS_UNITS


class TransitionBatch(NamedTuple):
    """One transaction. The units of orders that end are in `spends`, negative, from reservations of returns; what is in
    no spends row of its reservation does not come back. `events` and `event_count` as in `Batch`.

    `transitions` must not name an order twice; `spends` must not name a reservation twice.
    """

    transitions: Sequence[Transition]
    spends: Sequence[Spend]
    events: bytes
    event_count: int
    update_time: datetime


class Rejection(NamedTuple):
    """What becomes of an order that was queued and did not get its units. `sku` decided it; `restocked`: units of it
    that had ever been restocked then, if it was for want of units, else 0.
    """

    order: NewOrder
    reason: str
    sku: str
    restocked: int = 0


class RejectionBatch(NamedTuple):
    """One transaction. `events` and `event_count` as in `Batch`; `rejections` must not name an order twice."""

    rejections: Sequence[Rejection]
    events: bytes
    event_count: int
    time: datetime


class Committed(NamedTuple):
    """The batch stands."""


class OrdersExist(NamedTuple):
    """Nothing was written: these orders of the batch stand already."""

    orders: Mapping[str, Order]


class ReservationsClosed(NamedTuple):
    """Nothing was written: these reservations have a row already (committed before, or void). By SKU: units sold."""

    sold: Mapping[ReservationKey, Mapping[str, int]]


class CustomerLimit(NamedTuple):
    """A customer may have `units` of the SKU, and would have more."""

    sku: str
    units: int


class LimitsReached(NamedTuple):
    """Nothing was written: with these orders their customers would have more of a SKU than its limit. Judged in the
    order of the batch: without them the rest can be written, unless somebody else is faster.
    """

    orders: Mapping[str, CustomerLimit]


class IncarnationsFenced(NamedTuple):
    """Nothing was written: these incarnations are fenced or were never registered."""

    incarnations: frozenset[UUID]


class OrdersMoved(NamedTuple):
    """Nothing was written: these orders do not stand at the version that was expected, but like this; None: there is
    no such order. Without them the rest can be written, on the same reservations.
    """

    orders: Mapping[str, Order | None]


CommitResult = Committed | OrdersExist | LimitsReached | ReservationsClosed | IncarnationsFenced
TransitionResult = Committed | OrdersMoved | ReservationsClosed | IncarnationsFenced


class OutboxRow(NamedTuple):
    """`number` counts up without gaps in publishing; `events` as in `Batch`."""

    number: int
    create_time: datetime
    events: bytes
    event_count: int


class Backlog(NamedTuple):
    """What is not on the event log yet. `oldest` is None if nothing waits."""

    rows: int
    events: int
    oldest: datetime | None


class IncarnationRow(NamedTuple):
    name: str
    incarnation: UUID
    start_time: datetime
    fenced: bool


class OutboxLease(Protocol):
    """The right to publish: held by one session at a time. Every method raises JournalUnreachable; when the session
    is lost the lease is lost with it, and the holder must stop publishing.
    """

    async def number_new(self) -> int:
        """Numbers every committed row that has no number, in a transaction of its own, unless numbering is paused. A
        row is numbered once. Returns how many there were.
        """
        ...

    async def map_version(self) -> int:
        """Rises with every slot map that is put into force."""
        ...

    async def slot_maps(self) -> Sequence[SlotMap]:
        """Every map that there ever was, by topic and epoch. The last of each topic is right for every row that is
        numbered when this is asked and not deleted.
        """
        ...

    async def read(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """Rows with a number above `after`, by number."""
        ...

    async def delete(self, numbers: Sequence[int]) -> None:
        """Forgets rows whose every event is acknowledged by the log."""
        ...


class HoldsLease(Protocol):
    """The right to expire holds: given to one session at a time, so that several that want to do not do the work
    twice. Nothing depends on it: a transition counts once, whoever makes it.
    """

    async def due_holds(self, limit: int) -> Sequence[Order]:
        """HELD orders whose hold is over by the database's clock, the longest over first. Raises JournalUnreachable;
        when the session is lost the lease is lost with it.
        """
        ...


class Journals(Protocol):
    """What can be asked of one journal, or of all journals of a cluster as of one (`journal.all_journals`). Every
    method raises JournalUnreachable; of several it asks all that it needs, and fails if one of those is away.
    """

    @property
    def shards(self) -> Sequence["Journal"]:
        """Each journal, by its number; only itself if there is no other. An order is in the one that its id picks
        (`sluice.sharding`); the reservation `(incarnation, seq)` is decided in number `seq % len(shards)`.
        """
        ...

    async def register(self, name: str, incarnation: UUID, now: datetime) -> Sequence[UUID]:
        """Registers a start of a stock server, everywhere before it may sell, and fences all earlier incarnations of
        that name, waiting for commits in flight against them. Returns every fenced incarnation of the name. Registering
        again is harmless, unless the incarnation itself has been fenced meanwhile: then IncarnationFenced is raised.
        Counts as the first beat, and makes the predecessors that are still being swept due for a reclaim.
        """
        ...

    async def beat(self, incarnation: UUID) -> None:
        """Notes that the incarnation is alive, by the database's clock. Raises IncarnationFenced."""
        ...

    async def silent(self, limit_s: float) -> Sequence[IncarnationRow]:
        """Incarnations that are not fenced and whose last beat is older than `limit_s` by the database's clock. Says
        nothing for certain: they may be slow, or the database may have been away. Good for deciding whom to fence,
        because fencing the living is safe.
        """
        ...

    async def fence(self, incarnation: UUID) -> bool:
        """No transaction that spends from the incarnation commits anywhere after this returns. It is due for a reclaim,
        again if it was fenced before. Returns whether this call fenced it.
        """
        ...

    async def claim_reclaim(self, claim_s: float) -> UUID | None:
        """An incarnation, fenced everywhere, that is due to be folded, None if there is none now. Others get it only
        after `claim_s` seconds, unless `reclaimed` comes first; two that fold it at once do no harm.
        """
        ...

    async def reclaimed(self, incarnation: UUID) -> None:
        """All of its ledger rows are folded. It is due again as RECLAIM_AGAIN_S and RECLAIM_FOR_S say."""
        ...

    async def incarnations(self) -> Sequence[IncarnationRow]: ...

    async def spent(self, incarnation: UUID) -> Mapping[str, int]:
        """Sum of all spends of the incarnation, by SKU."""
        ...

    async def sold(self, skus: Sequence[str]) -> Mapping[str, int]:
        """Sum of all spends of the SKUs, over all incarnations. SKUs without spends are missing."""
        ...

    async def roll_up(self, incarnation: UUID) -> int:
        """Adds the contiguous decided rows above the last roll-up into totals per SKU, so that `spent` and `sold`
        need not add up every row. Rows stay: their keys decide late commits. Returns the rows added.
        """
        ...

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        """The orders among `order_ids` that stand."""
        ...

    async def find_newer(self, versions: Mapping[str, int]) -> Mapping[str, Order]:
        """Of the orders named those that stand at a higher version than given."""
        ...

    async def list_orders(self, customer_id: str | None, before: str | None, limit: int) -> Sequence[Order]:
        """By descending order id, starting below `before` (None: at the top); one customer's, or all."""
        ...

    async def backlog(self) -> Backlog: ...

    def scan_orders(self) -> AsyncIterator[Sequence[Order]]:
        """Every order, in pages, as of one moment. For the audit."""
        ...

    async def all_spends(self) -> Mapping[UUID, Mapping[str, int]]:
        """Sum of spends by incarnation and SKU, added up from the rows alone, without roll-ups. For the audit."""
        ...

    async def close(self) -> None: ...


class Journal(Journals, Protocol):
    """One database. Every method raises JournalUnreachable."""

    @property
    def shard(self) -> int:
        """Its number among the journals of the cluster, from 0."""
        ...

    @property
    def journal_id(self) -> UUID:
        """Made once when the database is created; names it in every event's position."""
        ...

    async def commit(self, batch: Batch) -> CommitResult:
        """After JournalUnreachable with `outcome_unknown` commit the same batch again: ReservationsClosed or
        OrdersExist then show that it had happened.
        """
        ...

    async def reject(self, batch: RejectionBatch) -> Committed | OrdersExist:
        """Writes orders that never had units, for good. After JournalUnreachable with `outcome_unknown` do the same
        batch again: OrdersExist then shows that it had happened.
        """
        ...

    async def transition(self, batch: TransitionBatch) -> TransitionResult:
        """After JournalUnreachable with `outcome_unknown` do the same batch again: OrdersMoved then shows each order
        as the batch made it if it had happened.
        """
        ...

    async def set_limit(self, sku: str, units: int | None) -> None:
        """Units of the SKU that one customer may have; None: any number. Orders that stand stay, and only those placed
        while there is a limit are counted: so set it before the sale.
        """
        ...

    async def limits(self, skus: Sequence[str]) -> Mapping[str, int]:
        """Those of `skus` that have a limit."""
        ...

    async def counted_units(self, customer_id: str, skus: Sequence[str]) -> Mapping[str, int]:
        """The customer's units that count towards limits: of living orders. SKUs of which none count may be missing."""
        ...

    async def close_reservations(
        self, incarnation: UUID, seqs: Sequence[int], now: datetime
    ) -> Mapping[int, Mapping[str, int]]:
        """Decides reservations for ever: writes an empty row where there is none (void), and returns for each seq
        what its row says was sold, by SKU. A later commit of a void reservation gets ReservationsClosed. Works for
        a fenced incarnation too.
        """
        ...

    def lease_outbox(self) -> AbstractAsyncContextManager[OutboxLease | None]:
        """Tries to become the one that publishes; None if another session is. Released on exit."""
        ...

    def lease_holds(self) -> AbstractAsyncContextManager[HoldsLease | None]:
        """Tries to become the one that expires holds; None if another session is. Released on exit."""
        ...

    def scan_outbox(self) -> AsyncIterator[Sequence[OutboxRow]]:
        """Every outbox row that is kept, numbered or not (number 0), in pages, as of one moment. For the audit."""
        ...

    async def ping(self) -> None:
        """Returns if the database answers now."""
        ...


class IncarnationFenced(Exception):
    """This incarnation may not sell any more: a successor, a peer or an operator has fenced it. It must stop."""

    def __init__(self, incarnation: UUID) -> None:
        super().__init__(f"incarnation {incarnation} is fenced")
        self.incarnation = incarnation
