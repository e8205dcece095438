"""The stock keeper: decides `Reserve` batches from escrow, moves units between ledger and escrow.

Orders are served from the escrow, in memory. Per SKU one conditional write is in flight at a time; orders for which
the escrow does not suffice wait and share the next one. How much is taken ahead, and when the unsold goes back, is
the policy's appetite: nothing ahead and at once for `exact`, some seconds of demand for `escrow`. Of SKUs with the
policy `counter` nothing is taken; `stockd/counting.py` says what is free, and all else is the same for them.

Safety rests on three rules (design §3): a write of unknown outcome is sent again unchanged, never made anew
(`stockd/taking.py`); a reservation is believed sold or void only as the journal's row says; a fenced incarnation stops.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import structlog

from journal.protocol import IncarnationFenced, Journals
from sluice.errors import JournalUnreachable, KeeperUnreachable, StoreUnreachable
from sluice.model import StockPolicy
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement, Verdict
from sluice.seams.stock_store import Applied, NoSuchSku, Refused, StockStore
from stockd import appetite
from stockd import escrow as escrows
from stockd.counting import REFRESH_S, Counting
from stockd.escrow import Escrow, EscrowLine, Request, Waiter
from stockd.holding import Holding
from stockd.metrics import StockdMetrics
from stockd.spreading import Spreading
from stockd.taking import Taking
from stockd.unanswered import Unanswered

HOUSEKEEPING_INTERVAL_S = 0.5
"""How often overdue reservations and suspect rows are looked at: well below the reservation grace."""

MAX_CLOSE_BATCH = 1_000
"""Reservations decided by one journal call: bounds the statement after a long outage."""

FENCE_CHECK_INTERVAL_S = 2.0
"""How soon a fenced zombie notices. Only for tidiness: nothing it grants can be committed."""

SKUS_PER_LOOK = 2_000
"""SKUs that hold units between two looks of the housekeeping. A look at one takes 13 us in which nobody is served;
with a million of them a look at all would stop the server for many seconds."""

RETURNS_PER_LOOK = 100
"""Give-backs between two looks of the housekeeping. At the end of a sale of 10,000 SKUs each of them has some, and all
at once would take the ledger from those who go on selling. Whoever drains is in a hurry and does not count them."""

REFILL_PAUSE_S = 0.2
"""After taking ahead failed: the ledger is away, busy or nearly empty, and every order would try again."""

GIVE_BACK_PAUSE_S = 0.5
"""After giving back failed, unless somebody asks for the SKU before."""

_log = structlog.get_logger(__name__)


class _Need(Enum):
    """What an escrow needs done, most urgent first."""

    UNITS_FOR_ORDERS = 1
    UNITS_OF_OTHERS = 2
    """The order in front waits for another SKU."""
    LESS = 3
    MORE = 4
    COUNTING = 5
    """Nothing is taken of it: what was sold is to be counted, or orders wait for what others counted."""
    NOTHING = 6


class _OpenReservation(NamedTuple):
    """`granted` is negative where units are to return."""

    granted: Sequence[tuple[Escrow, int]]
    since: float


class Engine:
    """A `StockKeeper` for one incarnation. Runs until `run` raises IncarnationFenced or is cancelled."""

    def __init__(
        self,
        *,
        incarnation: UUID,
        store: StockStore,
        journal: Journals,
        monotonic: Callable[[], float],
        cpu_s: Callable[[], float],
        reservation_grace_s: float,
        store_timeout_s: float,
        max_waiting_orders: int,
        owners: int,
        metrics: StockdMetrics,
        counter_refresh_s: float = REFRESH_S,
    ) -> None:
        """`owners`: how many servers may hold an escrow of one SKU at a time; each leaves the others their share.
        `cpu_s`: seconds that the thread of this engine has computed so far. Of several journals each has reservation
        numbers of its own, by their remainder, so that a number says in which one it is decided.
        """
        self.incarnation = incarnation
        self._store = store
        self._journal = journal
        self.shards = len(journal.shards)
        self._monotonic = monotonic
        self._cpu_s = cpu_s
        self._grace_s = reservation_grace_s
        self._store_timeout_s = store_timeout_s
        self._max_waiting_orders = max_waiting_orders
        self._owners = owners
        self._metrics = metrics
        self._spreading = Spreading(max_waiting_orders)
        self._unanswered = Unanswered()
        self._counting = Counting(
            incarnation=incarnation,
            store=store,
            monotonic=monotonic,
            refresh_s=counter_refresh_s,
            fence=self._fence,
            choose_owners=self._spreading.choose,
            metrics=metrics,
            unanswered=self._unanswered,
        )
        self._breadth = appetite.Breadth()
        self._taking = Taking(
            incarnation=incarnation,
            store=store,
            monotonic=monotonic,
            horizon_s=self._breadth.horizon_s,
            fence=self._fence,
            choose_owners=self._spreading.choose,
            metrics=metrics,
        )
        self._escrows: dict[str, Escrow] = {}
        self._holding = Holding()
        self._open: dict[int, _OpenReservation] = {}
        self._last_seqs = list(range(self.shards))
        self._waiting_orders = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._returns_left = RETURNS_PER_LOOK
        self._fenced = False
        self._draining = False

    async def reserve(self, batch: ReserveBatch, settlements: Sequence[Settlement], timeout_s: float) -> Reservation:
        """See StockKeeper.reserve. A fenced incarnation is as good as one that does not answer."""
        self._apply(settlements)
        if self._fenced:
            raise KeeperUnreachable(f"incarnation {self.incarnation} is fenced")
        order_count = len(batch.lines_per_order) or len(batch.sku_indexes)
        if self._waiting_orders + order_count > self._max_waiting_orders:
            self._metrics.verdicts(Verdict.OVERLOADED, order_count)
            return Reservation(self.incarnation, 0, [Verdict.OVERLOADED] * order_count, [0] * order_count)
        if order_count == 0:
            return Reservation(self.incarnation, 0, [], [])
        if (granted := self._grant_at_once(batch)) is not None:
            return granted
        loop = asyncio.get_running_loop()
        request = Request(order_count, loop.create_future())
        waiters = self._enqueue(batch, request)
        expiry = loop.call_later(min(self._store_timeout_s, timeout_s * 0.75), self._expire, waiters)
        self._waiting_orders += order_count
        try:
            await request.decided
        except asyncio.CancelledError:
            # Nobody will hear the answer, so nobody can commit it: what was granted is free again at once.
            self._abandon(request, waiters)
            raise
        finally:
            expiry.cancel()
            self._waiting_orders -= order_count
        return self._answer(request, batch.shard)._replace(owners=self._spreading.advice(batch.skus))

    async def reserve_return(self, units: Mapping[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        """See StockKeeper.reserve_return. Asks nobody: what comes back to an incarnation that then dies is found in the
        journal by whoever folds it, whether it ever took units of the SKU or not.
        """
        del timeout_s
        if self._fenced:
            raise KeeperUnreachable(f"incarnation {self.incarnation} is fenced")
        returning = {self._escrow(sku): -count for sku, count in units.items()}
        for escrow, count in returning.items():
            escrow.returning -= count
        return self.incarnation, self._number(returning.items(), shard)

    async def settle(self, settlements: Sequence[Settlement], timeout_s: float) -> None:
        """See StockKeeper.settle. Cannot fail here: it only changes memory."""
        del timeout_s
        self._apply(settlements)

    async def run(self) -> None:
        """Housekeeping, for as long as the incarnation lives. Raises IncarnationFenced when it must stop."""
        next_fence_check = self._monotonic() + FENCE_CHECK_INTERVAL_S
        while True:
            looked_at, computed_s = self._monotonic(), self._cpu_s()
            await asyncio.sleep(HOUSEKEEPING_INTERVAL_S)
            busy = (self._cpu_s() - computed_s) / (self._monotonic() - looked_at)
            await self.spread(busy)
            await self.close_overdue()
            await self.audit_suspects()
            self.return_unsold()
            if self._monotonic() >= next_fence_check:
                await self._check_fence()
                next_fence_check = self._monotonic() + FENCE_CHECK_INTERVAL_S

    async def close_overdue(self) -> None:
        """Decides by the journal every reservation that nobody has settled within the grace. A journal that is away
        holds up its own.
        """
        horizon = self._monotonic() - self._grace_s
        overdue: dict[int, list[int]] = {}
        for seq, reservation in self._open.items():
            if reservation.since <= horizon:
                overdue.setdefault(seq % self.shards, []).append(seq)
        if overdue:
            await asyncio.gather(*(self._close(seqs[:MAX_CLOSE_BATCH], shard) for shard, seqs in overdue.items()))

    async def _close(self, overdue: Sequence[int], shard: int) -> None:
        journal = self._journal.shards[shard]
        try:
            rows = await journal.close_reservations(self.incarnation, overdue, datetime.now(UTC))
        except JournalUnreachable as error:
            _log.warning("overdue reservations stay in doubt", reservations=len(overdue), reason=str(error))
            return
        _log.info("decided overdue reservations by the journal", reservations=len(rows))
        self._metrics.closed_by_grace.inc(len(rows))
        self._apply([Settlement(self.incarnation, seq, sold) for seq, sold in rows.items()])

    async def audit_suspects(self) -> None:
        """Looks again at rows whose last write nobody answered for a while."""
        for escrow in await self._taking.audit_suspects():
            self._tend(escrow)

    def return_unsold(self) -> None:
        """Demand fades without anybody telling."""
        self._returns_left = RETURNS_PER_LOOK
        for escrow in self._holding.next(SKUS_PER_LOOK):
            self._tend(escrow)

    async def spread(self, busy: float) -> None:
        """Advises more or fewer owners by how busy this server was, and looks at what is left of the SKUs that are
        spread: who holds more than its share gives it back, because other owners have buyers for it.
        """
        now = self._monotonic()
        self._spreading.look(busy, self._waiting_orders, now, self._rate_of)
        for sku in self._spreading.spread_skus():
            escrow = self._escrows.get(sku)
            if escrow is not None and escrow.free and not escrow.tended:
                with suppress(StoreUnreachable):
                    await self._taking.look(escrow)
                self._tend(escrow)

    def _rate_of(self, sku: str) -> float:
        escrow = self._escrows.get(sku)
        return escrow.asked.rate_per_s(self._monotonic()) if escrow is not None else 0.0

    # The metrics page asks these from a thread of its own: a copy is made in one step, and a walk is not.

    def units_free(self) -> int:
        return self._holding.units()

    def units_in_doubt(self) -> int:
        return sum(escrow.in_doubt for escrow in list(self._escrows.values()))

    def units_uncounted(self) -> int:
        """Units of SKUs with the policy `counter` that other servers cannot see to be sold."""
        every = list(self._escrows.values())
        tallies = [(escrow.tally, escrow.in_doubt) for escrow in every if escrow.tally is not None]
        return sum(tally.uncounted(in_doubt) for tally, in_doubt in tallies)

    def open_reservations(self) -> int:
        return len(self._open)

    async def drain(self, limit_s: float) -> None:
        """Waits until no order waits, nothing is in doubt and every unsold unit is back in the ledger, or the limit.
        Once fenced, only until the writes under way are answered: what was open or free is its successor's.
        """
        end = self._monotonic() + limit_s
        self._draining = True
        while self._tasks or (not self._fenced and (self._open or self._holding)):
            left = end - self._monotonic()
            if left <= 0:
                return
            self.return_unsold()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=left)
            else:
                await asyncio.sleep(min(left, 0.05))
                await self.close_overdue()

    def _grant_at_once(self, batch: ReserveBatch) -> Reservation | None:
        """What a busy server does all day: nobody waits, the units are in memory, every order has one line. Then each
        is granted, and there is no need to look at them one by one. None, and nothing has happened, if it is not so.
        """
        if batch.lines_per_order:
            return None
        shelf = [self._escrow(sku) for sku in batch.skus]
        wanted = _units_by_index(batch)
        if not all(map(escrows.may_grant, shelf, wanted)):
            return None
        now = self._monotonic()
        fade_s = self._breadth.fade_s()
        for escrow, units in zip(shelf, wanted, strict=True):
            self._breadth.asked(escrow.asked, now)
            escrow.asked.asked(units, now, fade_s)
            escrows.grant(escrow, units)
        if self._spreading.counts:
            self._spreading.asked(dict(zip(batch.skus, wanted, strict=True)))
        order_count = len(batch.quantities)
        self._metrics.verdicts(Verdict.GRANTED, order_count)
        seq = self._number(zip(shelf, wanted, strict=True), batch.shard)
        horizon_s = self._breadth.horizon_s()
        for escrow in shelf:  # who has fewer units now needs more of them, if anything
            rate_per_s = escrow.asked.expected_then_per_s  # they were asked for just now
            if appetite.suffices(escrow.free, rate_per_s, horizon_s):
                continue
            if appetite.wants_refill(escrow.free, self._block(escrow, rate_per_s, horizon_s)):
                self._tend(escrow)
        return Reservation(
            self.incarnation, seq, [Verdict.GRANTED] * order_count, [], self._spreading.advice(batch.skus)
        )

    def _enqueue(self, batch: ReserveBatch, request: Request) -> list[Waiter]:
        shelf = [self._escrow(sku) for sku in batch.skus]
        lines_of = _single_lines(batch, shelf) if not batch.lines_per_order else _lines(batch, shelf)
        waiters = [Waiter(request, place, lines) for place, lines in enumerate(lines_of)]
        demand_before = [escrow.demand for escrow in shelf]
        for waiter in waiters:
            escrows.enqueue(waiter)
        now = self._monotonic()
        fade_s = self._breadth.fade_s()
        for escrow, before in zip(shelf, demand_before, strict=True):
            self._breadth.asked(escrow.asked, now)
            escrow.asked.asked(escrow.demand - before, now, fade_s)
        if self._spreading.counts:
            self._spreading.asked({e.sku: e.demand - before for e, before in zip(shelf, demand_before, strict=True)})
        for escrow in shelf:
            self._hand_out(escrow)  # what is in memory is sold at once, whatever the ledger is doing
        for escrow in shelf:
            escrow.wake()
            self._tend(escrow)
        return waiters

    def _hand_out(self, escrow: Escrow) -> None:
        if escrow.tally is not None:
            self._counting.recount(escrow, escrow.tally)
        escrows.hand_out(escrow)

    def _escrow(self, sku: str) -> Escrow:
        escrow = self._escrows.get(sku)
        if escrow is None:
            escrow = self._escrows[sku] = Escrow(sku)
        return escrow

    def _number(self, granted: Iterable[tuple[Escrow, int]], shard: int) -> int:
        seq = self._last_seqs[shard] = self._last_seqs[shard] + self.shards
        self._open[seq] = _OpenReservation(tuple(granted), self._monotonic())
        return seq

    def _answer(self, request: Request, shard: int) -> Reservation:
        seq = self._number(request.granted.items(), shard) if request.granted else 0
        granted = request.verdicts.count(Verdict.GRANTED)
        self._metrics.verdicts(Verdict.GRANTED, granted)
        if granted == len(request.verdicts):
            return Reservation(self.incarnation, seq, request.verdicts, [])
        for verdict in set(request.verdicts) - {Verdict.GRANTED}:
            self._metrics.verdicts(Verdict(verdict), request.verdicts.count(verdict))
        return Reservation(self.incarnation, seq, request.verdicts, request.blamed)

    def _abandon(self, request: Request, waiters: list[Waiter]) -> None:
        for waiter in waiters:
            if not waiter.decided:
                escrows.refuse(waiter, Verdict.LEDGER_UNREACHABLE, 0)
                for escrow, *_ in waiter.lines:
                    escrow.wake()  # who waits behind it may be served, or nobody is left to wait for
        for escrow, units in request.granted.items():
            escrows.settle(escrow, units, 0)
            self._tend(escrow)

    def _expire(self, waiters: list[Waiter]) -> None:
        verdict = Verdict.OVERLOADED if self._taking.overloaded() else Verdict.LEDGER_UNREACHABLE
        for waiter in waiters:
            if not waiter.decided:
                escrow, _, index = waiter.lines[0]
                escrows.refuse(waiter, verdict, index)
                if verdict is Verdict.LEDGER_UNREACHABLE:
                    self._unanswered.refused(escrow.sku, 1, "waited for as long as an order may")

    def _apply(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            if settlement.incarnation != self.incarnation:
                continue  # of an earlier start: its successor has read the journal itself
            reservation = self._open.pop(settlement.seq, None)
            if reservation is None:
                continue  # settled before
            for escrow, units in reservation.granted:
                free_before = escrow.free  # who has what it had, needs what it needed
                escrows.settle(escrow, units, settlement.sold.get(escrow.sku, 0))
                if escrow.free != free_before or escrow.demand or escrow.tally is not None:
                    self._tend(escrow)

    def _tend(self, escrow: Escrow) -> None:
        """Makes sure that somebody acts on the escrow's needs."""
        if escrow.free:
            self._holding.add(escrow)
        if not escrow.tended and not self._fenced and self._needs(escrow) is not _Need.NOTHING:
            escrow.tended = True
            escrow.changed = asyncio.Event()
            task = asyncio.create_task(self._tend_until_quiet(escrow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _needs(self, escrow: Escrow) -> "_Need":
        if escrow.tally is not None:
            return _Need.COUNTING if escrow.demand or not escrow.tally.all_counted() else _Need.NOTHING
        if escrow.demand > escrow.free:
            return _Need.UNITS_FOR_ORDERS
        if escrow.demand > 0:
            return _Need.UNITS_OF_OTHERS
        if self._escrows.get(escrow.sku) is not escrow:
            return _Need.NOTHING  # forgotten: what it took ahead now nobody would find
        if (self._returns_left > 0 or self._draining) and appetite.surplus(escrow.free, self._kept(escrow)):
            return _Need.LESS
        if self._monotonic() >= escrow.refill_not_before and appetite.wants_refill(escrow.free, self._ahead(escrow)):
            return _Need.MORE
        return _Need.NOTHING

    def _ahead(self, escrow: Escrow) -> int:
        """Units to hold beyond those that orders wait for."""
        expected_per_s = escrow.asked.expected_per_s(self._monotonic(), self._breadth.fade_s())
        return self._block(escrow, expected_per_s, self._breadth.horizon_s())

    def _kept(self, escrow: Escrow) -> int:
        """The same for units that are there already."""
        kept_per_s = escrow.asked.kept_per_s(self._monotonic(), self._breadth.fade_s())
        return self._block(escrow, kept_per_s, self._breadth.horizon_s())

    def _block(self, escrow: Escrow, rate_per_s: float, horizon_s: float) -> int:
        if escrow.policy is not StockPolicy.ESCROW or self._draining:
            return 0
        # Its own free units count as to be had: else a full escrow would find its share of the rest too small.
        to_be_had = escrow.available + escrow.free
        owners = max(self._owners, self._spreading.owners_of(escrow.sku))
        return appetite.ahead(rate_per_s, horizon_s, to_be_had, owners)

    async def _tend_until_quiet(self, escrow: Escrow) -> None:
        try:
            while not self._fenced:
                escrow.look_anew()
                self._hand_out(escrow)
                match self._needs(escrow):
                    case _Need.UNITS_FOR_ORDERS:
                        await self._fetch(escrow)
                    case _Need.UNITS_OF_OTHERS:
                        await escrow.change()
                    case _Need.MORE:
                        await self._refill(escrow)
                    case _Need.LESS:
                        await self._give_back(escrow, appetite.surplus(escrow.free, self._kept(escrow)))
                    case _Need.COUNTING if escrow.tally is not None:
                        await self._counting.act(escrow, escrow.tally)
                    case _:
                        return
        except IncarnationFenced:
            _log.error("stopped selling", sku=escrow.sku)
        except Exception:  # noqa: BLE001 - logged; see the comment
            # A bug, or an answer that the store must not give. The SKU goes on with whoever comes next.
            _log.exception("tending a SKU failed", sku=escrow.sku)
            escrows.refuse_all(escrow, Verdict.LEDGER_UNREACHABLE)
        finally:
            self._rest(escrow)
            if escrow.demand and not self._fenced:
                self._tend(escrow)

    def _rest(self, escrow: Escrow) -> None:
        escrow.tended = False
        escrow.changed = None
        if escrow.free:
            self._holding.add(escrow)

    async def _fetch(self, escrow: Escrow) -> None:
        """Takes what orders wait for and some ahead, or less if there is less; refuses those who cannot be served."""
        try:
            await self._fetch_from_ledger(escrow)
        except StoreUnreachable as error:
            escrows.hand_out(escrow)  # of units that came back meanwhile
            refused = escrows.refuse_all(escrow, Verdict.LEDGER_UNREACHABLE)
            self._unanswered.refused(escrow.sku, refused, str(error))
            if not self._taking.is_suspect(escrow):
                self._forget_if_empty(escrow)

    async def _fetch_from_ledger(self, escrow: Escrow) -> None:
        outcome: Applied | Refused | NoSuchSku | None = NoSuchSku()
        if await self._taking.look(escrow):
            missing = escrow.demand - escrow.free
            if missing <= 0 or escrow.tally is not None:
                return
            outcome = await self._taking.take(escrow, missing + self._ahead(escrow))
        if isinstance(outcome, NoSuchSku):
            escrows.refuse_all(escrow, Verdict.SKU_NOT_FOUND)
            self._forget_if_empty(escrow)
        elif isinstance(outcome, Refused):
            escrow.look_anew()
            short = escrows.refuse_hopeless(escrow, outcome.available, self._monotonic())
            if short > 0:
                await self._taking.take(escrow, short)
                return
            escrows.hand_out(escrow)
            if escrow.demand > escrow.free:
                await self._wait_for_units_in_doubt(escrow)

    async def _refill(self, escrow: Escrow) -> None:
        """Takes ahead of demand. What stands in the way must not hold up anything: it is tried again later."""
        outcome = None
        with self._taking.turns.ahead() as is_time, suppress(StoreUnreachable):
            if is_time and await self._taking.look(escrow) and (count := self._ahead(escrow) - escrow.free) > 0:
                outcome = await self._taking.take(escrow, count)
        if not isinstance(outcome, Applied):
            escrow.refill_not_before = self._monotonic() + REFILL_PAUSE_S

    def _forget_if_empty(self, escrow: Escrow) -> None:
        """Clients may ask for any name: those of no SKU must not fill memory."""
        holds = escrow.in_doubt or escrow.returning or escrow.free
        if escrow.row is None and not holds and self._escrows.get(escrow.sku) is escrow:
            del self._escrows[escrow.sku]
            self._taking.forget(escrow)

    async def _wait_for_units_in_doubt(self, escrow: Escrow) -> None:
        now = self._monotonic()
        patience_ends = escrows.next_patience_end(escrow, now)
        if patience_ends is None:
            return
        # When patience ends, the next refusal of the ledger is final for whoever lost it.
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_ends - now):
                await escrow.change()

    async def _give_back(self, escrow: Escrow, count: int) -> None:
        """Returns free units; while the store is away, keeps them until somebody asks or some time has passed."""
        if escrow.policy is None:  # they came back before anybody asked this server for the SKU
            with suppress(StoreUnreachable):
                if await self._taking.look(escrow):
                    return
            await self._pause(escrow)
            return
        if self._taking.turns.crowded() and not self._draining:
            self._returns_left = 0  # at the next look
            return
        self._returns_left -= 1
        escrow.free -= count  # they are on their way: nobody may be granted them
        outcome = None
        with suppress(StoreUnreachable):
            outcome = await self._taking.take(escrow, -count)
        if not isinstance(outcome, Applied):
            self._returns_left += 1
            escrow.free += count
            await self._pause(escrow)

    async def _pause(self, escrow: Escrow) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK_PAUSE_S):
                await escrow.change()

    def _fence(self) -> IncarnationFenced:
        """Stops selling at once, for every SKU; what to raise then."""
        self._fenced = True
        for each in self._escrows.values():
            escrows.refuse_all(each, Verdict.LEDGER_UNREACHABLE)
            each.wake()
        return IncarnationFenced(self.incarnation)

    async def _check_fence(self) -> None:
        if self._fenced:
            raise IncarnationFenced(self.incarnation)
        try:
            rows = await self._journal.incarnations()
        except JournalUnreachable:
            return
        servers = len({row.name for row in rows if not row.fenced})
        self._spreading.know_servers(servers)
        self._breadth.know_servers(servers)
        if any(row.fenced for row in rows if row.incarnation == self.incarnation):
            raise self._fence()


def _units_by_index(batch: ReserveBatch) -> Sequence[int]:
    """Units that are asked for, per SKU of the batch."""
    if len(batch.skus) == 1:
        return (sum(batch.quantities),)
    wanted = [0] * len(batch.skus)
    for index, quantity in zip(batch.sku_indexes, batch.quantities, strict=True):
        wanted[index] += quantity
    return wanted


def _single_lines(batch: ReserveBatch, shelf: Sequence[Escrow]) -> list[list[EscrowLine]]:
    return [
        [(shelf[index], quantity, index)] for index, quantity in zip(batch.sku_indexes, batch.quantities, strict=True)
    ]


def _lines(batch: ReserveBatch, shelf: Sequence[Escrow]) -> list[list[EscrowLine]]:
    lines = iter(zip(batch.sku_indexes, batch.quantities, strict=True))
    return [
        [(shelf[index], quantity, index) for index, quantity in islice(lines, count)] for count in batch.lines_per_order
    ]
