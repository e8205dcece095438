"""Commits decided batches to the journal, several in one transaction, and finds out what stands when it refuses.

A transaction is all or nothing. When the journal refuses it, the placements that caused the refusal are mended or
taken out and the rest is committed again; each round has less to commit, so it ends.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import structlog

from gateway.keepers import KeeperLink
from gateway.outcomes import (
    RETRY_WHEN_AWAY_S,
    Accepted,
    Outcome,
    Reason,
    Refused,
    newly_accepted,
    newly_held,
    rejected_before,
    replayed,
)
from journal.events import encode_order_events
from journal.protocol import (
    Batch,
    CommitResult,
    Committed,
    CustomerLimit,
    IncarnationsFenced,
    Journal,
    LimitsReached,
    OrdersExist,
    ReservationKey,
    ReservationsClosed,
    Spend,
)
from sluice.coalescer import Coalescer
from sluice.errors import JournalUnreachable, Overloaded
from sluice.model import NewOrder, Order, OrderState, same_content, units_by_sku
from sluice.reachability import Reachability
from sluice.seams.stock_keeper import Settlement

MAX_ORDERS_PER_TRANSACTION = 2_000
"""Rates stop rising at about this size (measured: 180k/s at 500, 205k/s at 2,000), latency does not."""

MAX_QUEUED_ORDERS = 50_000
"""Above what admission lets in: this queue is bounded by it, and the number is only a fuse."""

COMMIT_LIMIT_S = 1.2
"""For a commit and its repetition together: callers hear something within two seconds, since reserving takes
milliseconds unless the ledger is away too."""

_log = structlog.get_logger(__name__)


class Grant(NamedTuple):
    """A reservation that a batch was granted. `skus`: what the server was asked for; None: every SKU of the batch."""

    link: KeeperLink
    key: ReservationKey
    skus: frozenset[str] | None


class ReserveAgain:
    """The order's reservation can no longer be committed: it must be reserved anew, perhaps elsewhere."""


RESERVE_AGAIN = ReserveAgain()

CommitOutcome = Outcome | ReserveAgain


class Placement:
    """Orders whose units are granted, with the reservations they were granted from, and what became of them."""

    def __init__(self, orders: Sequence[NewOrder], grants: Sequence[Grant]) -> None:
        self._orders = orders
        self.undecided = list(orders)
        self.grants = list(grants)
        self.for_all: Outcome | None = None
        """What became of every order, if it was the same for all, as it mostly is."""
        self._outcomes: dict[str, CommitOutcome] = {}
        self.given_back: set[str] = set()
        """SKUs of which units were granted to orders that do not get them: free again when the rest is committed."""
        self._limits: dict[tuple[str, str], tuple[int, CustomerLimit]] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def of(self, order_id: str) -> CommitOutcome | None:
        """What became of one order; None if it is not among these."""
        if self.for_all is not None and not self._outcomes:
            self._outcomes = dict.fromkeys((order.order_id for order in self._orders), self.for_all)
        return self._outcomes.get(order_id)

    def spends(self) -> list[Spend]:
        units = units_by_sku(self.undecided)
        return [
            Spend(*grant.key, units if grant.skus is None else {sku: units[sku] for sku in units if sku in grant.skus})
            for grant in self.grants
        ]

    def decide_all(self, outcome: CommitOutcome) -> None:
        if not self.undecided:
            return
        if not self._outcomes and not isinstance(outcome, ReserveAgain):
            self.for_all = outcome
        else:
            self._outcomes.update(dict.fromkeys([order.order_id for order in self.undecided], outcome))
        self.undecided = []

    def decide_committed(self, accepted: Accepted, held: Accepted) -> None:
        if not any(map(_hold_of, self.undecided)):
            self.decide_all(accepted)
            return
        for order in self.undecided:
            self._outcomes[order.order_id] = accepted if order.hold is None else held
        self.undecided = []

    def decide_existing(self, existing: Mapping[str, Order]) -> None:
        """Orders that stand already are answered by what stands, and nothing of this batch is sold to them."""
        rest = []
        for order in self.undecided:
            stored = existing.get(order.order_id)
            if stored is None:
                rest.append(order)
            else:
                self._outcomes[order.order_id] = answer_for_existing(order, stored)
                self._give_back(order)
        self.undecided = rest

    def decide_limited(self, reached: Mapping[str, CustomerLimit]) -> None:
        rest = []
        for order in self.undecided:
            limit = reached.get(order.order_id)
            if limit is None:
                rest.append(order)
            else:
                self._outcomes[order.order_id] = beyond_limit(limit)
                self._give_back(order)
                self._note_limit(order, limit)
        self.undecided = rest

    def limit_for(self, order: NewOrder) -> CustomerLimit | None:
        """The limit that an order of the same customer went beyond which wanted no more of the SKU than this one."""
        for sku, quantity in order.lines if self._limits else ():
            least, limit = self._limits.get((order.customer_id, sku), (0, None))
            if limit is not None and quantity >= least:
                return limit
        return None

    def _note_limit(self, order: NewOrder, limit: CustomerLimit) -> None:
        key, quantity = (order.customer_id, limit.sku), _quantity_of(order, limit.sku)
        if key not in self._limits or quantity < self._limits[key][0]:
            self._limits[key] = (quantity, limit)

    def _give_back(self, order: NewOrder) -> None:
        self.given_back.update(line.sku for line in order.lines)

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


_hold_of = attrgetter("hold")


def _quantity_of(order: NewOrder, sku: str) -> int:
    return next(line.quantity for line in order.lines if line.sku == sku)


def beyond_limit(limit: CustomerLimit) -> Refused:
    return Refused(Reason.CUSTOMER_LIMIT, limit.sku, limit=limit.units)


def answer_for_existing(order: NewOrder, stored: Order) -> Outcome:
    if not same_content(stored, order):
        return Refused(Reason.ORDER_ID_REUSED, order.order_id)
    return rejected_before(stored) if stored.state is OrderState.REJECTED else replayed(stored)


class Committing:
    """The coalescer before the journal."""

    def __init__(
        self,
        journal: Journal,
        reachability: Reachability,
        *,
        now: Callable[[], datetime],
        connections: int,
    ) -> None:
        self._journal = journal
        self._reachability = reachability
        self._now = now
        self._coalescer: Coalescer[Placement] = Coalescer(
            self._commit,
            weigh=lambda placement: len(placement.undecided) + 1,
            max_batch_weight=MAX_ORDERS_PER_TRANSACTION,
            max_in_flight=connections,
            max_queued_weight=MAX_QUEUED_ORDERS,
        )

    async def commit(self, placement: Placement) -> None:
        """Returns when every order of the placement is decided. Stock servers are told as soon as it is known."""
        if self._reachability.away:
            # Found out while the units were reserved. Waiting for another time limit would be too late for callers.
            placement.decide_all(Refused(Reason.JOURNAL_UNREACHABLE, retry_after_s=RETRY_WHEN_AWAY_S))
            return
        try:
            self._coalescer.submit(placement)
        except Overloaded as error:
            # Its reservations stay uncommitted and become void.
            placement.decide_all(Refused(Reason.OVERLOADED, retry_after_s=error.retry_after_s))
            return
        await placement.done

    async def idle(self) -> None:
        await self._coalescer.idle()

    async def _commit(self, placements: list[Placement]) -> None:
        pending = placements
        try:
            while pending:
                pending = await self._commit_once(pending)
        except JournalUnreachable as error:
            self._reachability.mark_away(str(error))
            self._give_up(pending, Reason.JOURNAL_UNREACHABLE)
            self._give_up(self._coalescer.drain_queue(), Reason.JOURNAL_UNREACHABLE)
        except Exception:  # noqa: BLE001 - whatever happens, every caller must be answered
            _log.exception("committing failed")
            self._give_up(pending, Reason.INTERNAL)

    def _give_up(self, placements: list[Placement], reason: Reason) -> None:
        """The outcome is unknown or nothing happened; either way nobody may say what the reservations sold."""
        for placement in placements:
            placement.decide_all(Refused(reason, retry_after_s=RETRY_WHEN_AWAY_S))
            placement.finish()

    async def _commit_once(self, placements: list[Placement]) -> list[Placement]:
        """One transaction. Returns the placements that must be committed again."""
        now = self._now()
        spends = [placement.spends() for placement in placements]
        orders = [order for placement in placements for order in placement.undecided]
        events, event_count = encode_order_events(orders, now)
        batch = Batch(orders, [spend for group in spends for spend in group], events, event_count, now)
        match await self._commit_until_known(batch):
            case Committed():
                accepted, held = newly_accepted(now), newly_held(now)
                for placement, group in zip(placements, spends, strict=True):
                    placement.decide_committed(accepted, held)
                    for grant, spend in zip(placement.grants, group, strict=True):
                        grant.link.settle(Settlement(*grant.key, spend.units))
                    placement.finish()
                return []
            case OrdersExist(existing):
                for placement in placements:
                    placement.decide_existing(existing)
                return placements
            case LimitsReached(reached):
                for placement in placements:
                    placement.decide_limited(reached)
                return placements
            case ReservationsClosed(sold):
                return await self._without_closed(placements, sold)
            case IncarnationsFenced(fenced):
                return self._without_fenced(placements, fenced)

    async def _commit_until_known(self, batch: Batch) -> CommitResult:
        """A commit whose outcome is unknown is repeated once, on another connection."""
        try:
            async with asyncio.timeout(COMMIT_LIMIT_S):
                try:
                    return await self._journal.commit(batch)
                except JournalUnreachable as error:
                    if not error.outcome_unknown:
                        raise
                return await self._journal.commit(batch)
        except TimeoutError as error:
            message = f"the journal did not answer within {COMMIT_LIMIT_S} s"
            raise JournalUnreachable(message, outcome_unknown=True) from error

    async def _without_closed(
        self, placements: list[Placement], sold: Mapping[ReservationKey, Mapping[str, int]]
    ) -> list[Placement]:
        """A closed reservation was committed by an attempt whose answer was lost, or it is void. The orders tell."""
        affected = [placement for placement in placements if any(grant.key in sold for grant in placement.grants)]
        ids = [order.order_id for placement in affected for order in placement.undecided]
        existing = await self._journal.find_orders(ids)
        for placement in affected:
            placement.decide_existing(existing)
            placement.decide_all(RESERVE_AGAIN)
            for grant in placement.grants:
                if grant.key in sold:
                    grant.link.settle(Settlement(*grant.key, sold[grant.key]))
            placement.grants = [grant for grant in placement.grants if grant.key not in sold]
        return self._finish_those_without_grants(placements)

    def _without_fenced(self, placements: list[Placement], fenced: frozenset[object]) -> list[Placement]:
        for placement in placements:
            if any(grant.key[0] in fenced for grant in placement.grants):
                placement.decide_all(RESERVE_AGAIN)
                for grant in placement.grants:
                    if grant.key[0] in fenced:
                        grant.link.mark_away("its incarnation is fenced")
                placement.grants = [grant for grant in placement.grants if grant.key[0] not in fenced]
        return self._finish_those_without_grants(placements)

    def _finish_those_without_grants(self, placements: list[Placement]) -> list[Placement]:
        for placement in placements:
            if not placement.grants:
                placement.finish()
        return [placement for placement in placements if placement.grants]
