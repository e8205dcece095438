"""Moves units of a SKU between the ledger and this server's escrow: reads it, takes, gives back, and finds out what
became of a write that nobody answered.

Safety rests on this: a write of unknown outcome is sent again unchanged, never made anew; and a row that is smaller
than believed was folded by a successor, so the incarnation must stop (design §3).
"""

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import structlog

from journal.protocol import IncarnationFenced
from sluice.errors import StoreUnreachable
from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, NoSuchSku, Refused, Row, StockStore
from stockd import escrow as escrows
from stockd.appetite import AHEAD_S
from stockd.escrow import Escrow
from stockd.holder_notes import HolderNotes
from stockd.metrics import StockdMetrics
from stockd.turns import Turns, Urgency

RESEND_BACKOFF_S = (0.01, 0.05, 0.2, 0.5)
"""Pauses before a write of unknown outcome is sent again; the last repeats. It must be resolved before the SKU can
be written again, but a store in trouble must not be hammered."""

AVAILABLE_STALE_S = 1.0
LONGEST_STALE_S = 5.0
"""How old the last sight of a SKU's available units may be when units are taken ahead: one read a second and SKU, and
fewer where so many SKUs are sold that each take is for longer."""

OWNERS_STALE_S = 10.0
"""How often an `exact` SKU, of which nothing is taken ahead, is read to learn over how many servers it is spread."""

LATELY_S = 1.5
"""A ledger that answered since then is slow, not away. About as long as orders wait for it."""

_log = structlog.get_logger(__name__)


class Taking:
    """For all SKUs of one incarnation."""

    def __init__(
        self,
        *,
        incarnation: UUID,
        store: StockStore,
        monotonic: Callable[[], float],
        horizon_s: Callable[[], float],
        fence: Callable[[], IncarnationFenced],
        choose_owners: Callable[[str, int], None],
        metrics: StockdMetrics,
    ) -> None:
        """`horizon_s`: how much demand is taken ahead. `fence` stops the incarnation, and returns what to raise then.
        `choose_owners` is told over how many stock servers a SKU is spread.
        """
        self._incarnation = incarnation
        self._store = store
        self._monotonic = monotonic
        self._horizon_s = horizon_s
        self._fence = fence
        self._choose_owners = choose_owners
        self._metrics = metrics
        self.turns = Turns(monotonic, store.skus_at_once)
        self._notes = HolderNotes(incarnation, store, self.turns)
        self._answered_at = float("-inf")
        # After a write of unknown outcome: a copy of it may land later, so their rows are looked at again.
        self._suspects: set[Escrow] = set()

    async def look(self, escrow: Escrow) -> bool:
        """Whether there is such a SKU. Learns its policy, and from time to time what is available and how it is spread.

        Raises StoreUnreachable if the policy is not known yet.
        """
        stale_s = OWNERS_STALE_S
        if escrow.policy is StockPolicy.ESCROW:
            stale_s = min(AVAILABLE_STALE_S * self._horizon_s() / AHEAD_S, LONGEST_STALE_S)
        if escrow.policy and self._monotonic() - escrow.seen_at < stale_s:
            return True
        try:
            async with self.turns.turn(Urgency.READ):
                head = await self._store.head(escrow.sku)
        except StoreUnreachable:
            self._metrics.store_errors.inc()
            if escrow.policy is None:
                raise
            return True  # what was last seen must do; the take will tell
        self._answered_at = self._monotonic()
        if head is None:
            return False
        escrow.policy = head.policy
        self._choose_owners(escrow.sku, head.owners)
        if head.policy is StockPolicy.COUNTER and escrow.tally is None:
            escrows.begin_counting(escrow, self._incarnation)
        escrow.available = head.available
        escrow.seen_at = self._answered_at
        return True

    async def take(self, escrow: Escrow, count: int) -> Applied | Refused | NoSuchSku | None:
        """One conditional write, sent again until its outcome is known. None: look again, nothing was taken.

        A negative count gives back. Raises StoreUnreachable if nothing was sent, IncarnationFenced if the row turns
        out to be folded.
        """
        before = escrow.row
        wanted = Row((before.units if before else 0) + count, (before.version if before else 0) + 1)
        attempt = 0
        while True:
            try:
                await self._note_holder(escrow)
                async with self.turns.turn(Urgency.WRITE):
                    with self._metrics.take_seconds.time():
                        outcome = await self._store.take(escrow.sku, self._incarnation, before, count)
                break
            except StoreUnreachable as error:
                self._metrics.store_errors.inc()
                if attempt == 0 and not error.outcome_unknown:
                    raise
                self._suspects.add(escrow)
                await asyncio.sleep(RESEND_BACKOFF_S[min(attempt, len(RESEND_BACKOFF_S) - 1)])
                attempt += 1
        self._metrics.takes.inc()
        self._answered_at = self._monotonic()
        if isinstance(outcome, Applied) or (isinstance(outcome, Refused) and outcome.row == wanted and attempt > 0):
            escrow.row = wanted
            escrow.free += max(count, 0)
            escrow.available = max(0, escrow.available - count)
            return Applied()
        if isinstance(outcome, Refused):
            escrow.available = outcome.available
            escrow.seen_at = self._answered_at
        if isinstance(outcome, Refused) and outcome.row != before:
            self._believe(escrow, outcome.row)
            return None
        return outcome

    async def audit_suspects(self) -> Sequence[Escrow]:
        """Compares the rows of quiet SKUs with what is believed, where a write may have landed late. Those whose rows
        were as they should be, or were believed.
        """
        cleared: list[Escrow] = []
        for escrow in [escrow for escrow in self._suspects if not escrow.tended]:
            believed = escrow.row
            try:
                ledger = await self._store.read(escrow.sku, Consistency.STRONG)
            except StoreUnreachable:
                break
            if escrow.tended or escrow.row != believed or ledger is None:
                continue  # a write may have overtaken the read: what it saw says nothing of what is believed now
            self._suspects.discard(escrow)
            self._believe(escrow, ledger.held.get(self._incarnation))
            cleared.append(escrow)
        return cleared

    def is_suspect(self, escrow: Escrow) -> bool:
        return escrow in self._suspects

    def forget(self, escrow: Escrow) -> None:
        self._suspects.discard(escrow)

    def overloaded(self) -> bool:
        """Whether the ledger answers, and more is asked of it than it can answer in time."""
        return self.turns.were_crowded(LATELY_S) and self._monotonic() - self._answered_at < LATELY_S

    async def _note_holder(self, escrow: Escrow) -> None:
        if not escrow.holder_noted:
            await self._notes.note(escrow.sku)
            escrow.holder_noted = True

    def _believe(self, escrow: Escrow, row: Row | None) -> None:
        """Mends what is believed of the row by what it says. A row below belief was folded: we are fenced."""
        believed = escrow.row.units if escrow.row else 0
        if row is not None and row.units > believed:
            _log.warning("adopted units of a write that landed late", sku=escrow.sku, units=row.units - believed)
            escrows.adopt(escrow, row)
        elif row != escrow.row:
            _log.error("the ledger row is smaller than believed: this incarnation has been folded", sku=escrow.sku)
            raise self._fence()
