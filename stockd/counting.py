"""Keeps the counts of SKUs with the policy `counter`: tells others what was sold, reads what they sold.

One turn per SKU at a time: add what was sold since the last turn, then read. Turns are `refresh_s` apart while orders
come, and follow each other at once while orders wait for them. An addition is sent once. While the store is away
orders are served from what was last read, up to the cap of what may be uncounted.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from journal.protocol import IncarnationFenced
from sluice.errors import StoreUnreachable
from sluice.seams.stock_keeper import Verdict
from sluice.seams.stock_store import ALL_CELLS, Cell, Consistency, StockStore
from stockd import escrow as escrows
from stockd.counter import Tally
from stockd.escrow import Escrow
from stockd.metrics import StockdMetrics
from stockd.unanswered import Unanswered

REFRESH_S = 0.1
"""How old what is known of other servers' sales may be when units are granted. Shorter costs reads, longer oversells
more as stock runs out."""

TURN_PATIENCE_S = 0.2
"""A turn that takes longer than this is waited for no more: a store in health answers in milliseconds, and the policy
is there to go on selling."""

RETRY_PAUSE_S = 0.2
"""After a turn failed: the store is away, and every order would try again."""

_log = structlog.get_logger(__name__)


class Counting:
    """For all SKUs of one incarnation."""

    def __init__(
        self,
        *,
        incarnation: UUID,
        store: StockStore,
        monotonic: Callable[[], float],
        refresh_s: float,
        fence: Callable[[], IncarnationFenced],
        choose_owners: Callable[[str, int], None],
        metrics: StockdMetrics,
        unanswered: Unanswered,
    ) -> None:
        """`fence` stops the incarnation, and returns what to raise then. `choose_owners` is told over how many stock
        servers a SKU is spread.
        """
        self._incarnation = incarnation
        self._store = store
        self._monotonic = monotonic
        self._refresh_s = refresh_s
        self._fence = fence
        self._choose_owners = choose_owners
        self._metrics = metrics
        self._unanswered = unanswered

    def recount(self, escrow: Escrow, tally: Tally) -> None:
        """Sets what may be granted now; nothing if what is known of other servers is too old."""
        if tally.away or self._is_fresh(tally):
            escrows.recount(escrow, tally)
        else:
            escrow.free = 0

    async def act(self, escrow: Escrow, tally: Tally) -> None:
        """The next thing to do for those who wait after all that is free was handed out, or for what is not counted.

        Raises IncarnationFenced.
        """
        if escrow.demand > escrow.free:
            await self._serve(escrow, tally)
        elif await self._rest(escrow, tally.look_at):
            await self._turn(escrow, tally)

    async def _serve(self, escrow: Escrow, tally: Tally) -> None:
        """What is known does not suffice: learns more, or refuses."""
        now = self._monotonic()
        if tally.away:
            if now >= tally.look_at:
                await self._turn(escrow, tally)
            else:
                self._refuse_all(escrow, "it did not a moment ago")
            return
        if not self._is_fresh(tally):
            await self._turn(escrow, tally)
            return
        escrows.refuse_above(escrow, tally.cap)
        escrows.refuse_hopeless(escrow, max(0, tally.left(escrow.in_doubt) - escrow.free), now)
        if escrow.demand <= escrow.free:
            return
        if not tally.all_counted():
            await self._turn(escrow, tally)  # what is not counted stands in the way
            return
        ends = [tally.look_at, escrows.next_patience_end(escrow, now)]
        if not escrows.send_back(escrow) and await self._rest(escrow, min(end for end in ends if end is not None)):
            tally.waited = True
            await self._turn(escrow, tally)

    async def _turn(self, escrow: Escrow, tally: Tally) -> None:
        """Adds, then reads. If the store does not answer, orders are served from what was last read."""
        patience = asyncio.get_running_loop().call_later(TURN_PATIENCE_S, self._sell_from_memory, escrow, tally)
        try:
            await self._join(escrow.sku, tally)
            await self._count(escrow.sku, tally)
            await self._read(escrow.sku, tally)
            tally.look_at = self._monotonic() + self._refresh_s
        except StoreUnreachable as error:
            self._metrics.store_errors.inc()
            tally.look_at = self._monotonic() + RETRY_PAUSE_S
            if tally.read_at is None:
                self._refuse_all(escrow, str(error))
                return
            if not tally.away:
                _log.warning("selling from what was last read", sku=escrow.sku, reason=str(error))
            self._sell_from_memory(escrow, tally)
        finally:
            patience.cancel()

    def _refuse_all(self, escrow: Escrow, reason: str) -> None:
        refused = escrows.refuse_all(escrow, Verdict.LEDGER_UNREACHABLE)
        self._unanswered.refused(escrow.sku, refused, reason)

    async def _join(self, sku: str, tally: Tally) -> None:
        """Before the first sale, so that a successor finds it and others know that there is one more to sell."""
        if not tally.joined:
            await self._store.note_held(self._incarnation, [sku])
            await self._store.add_sold(sku, tally.cell, 0)
            tally.joined = True

    async def _count(self, sku: str, tally: Tally) -> None:
        if tally.on_its_way:
            await self._store.close_cell(sku, tally.cell, tally.to_close())
            tally.was_closed()
        if not tally.pending():
            return
        units = tally.send()
        try:
            await self._store.add_sold(sku, tally.cell, units)
        except StoreUnreachable as error:
            if not error.outcome_unknown:
                tally.was_not_sent()
            else:
                self._metrics.uncertain_additions.inc()
            raise
        tally.was_added()
        self._metrics.additions.inc()

    async def _read(self, sku: str, tally: Tally) -> None:
        began = self._monotonic()
        ledger, counts = await asyncio.gather(
            self._store.read(sku, Consistency.QUORUM), self._store.counts(sku, Consistency.QUORUM)
        )
        assert ledger is not None, "a SKU is never removed"
        if Cell(self._incarnation, ALL_CELLS) in counts.closed:
            raise self._fence()
        self._choose_owners(sku, ledger.owners)
        tally.saw(sum(ledger.restocks.values()), counts, ledger.owners, began)

    def _sell_from_memory(self, escrow: Escrow, tally: Tally) -> None:
        if tally.read_at is not None:
            tally.away = True
            escrows.recount(escrow, tally)
            escrows.hand_out(escrow)

    def _is_fresh(self, tally: Tally) -> bool:
        return tally.read_at is not None and self._monotonic() - tally.read_at < self._refresh_s

    async def _rest(self, escrow: Escrow, until: float) -> bool:
        """Whether the time came before anything changed."""
        try:
            async with asyncio.timeout(until - self._monotonic()):
                await escrow.change()
        except TimeoutError:
            return True
        return False
