"""Compensation: SKUs that are sold by counting may be sold beyond the stock; the orders beyond it are cancelled.

Keeps the exact tally of each such SKU, in the order of `stock-changed`. Where a tally is above what was ever restocked,
which is read at that moment, orders go as `OVERSOLD` until it is not, in the order that the setting says.

Harmless when run twice, by two at once, or again after a crash: an event counts once, an order ends once, and whoever
decides sees which orders have ended already, whether or not their events have come.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from journal.protocol import Transition
from journal.tallies import StockEvent, TalliedOrder, Tallies, Victims
from sluice._gen.events.v1.events_pb2 import StockChanged
from sluice.errors import JournalUnreachable
from sluice.model import ENDED_AS_OVERSOLD, Order, OrderState, StockPolicy
from sluice.seams.event_log import LoggedEvent
from sluice.seams.stock_store import Consistency, StockStore

MAX_ORDERS_PER_ROUND = 500
"""Orders that are ended in one transaction. More are ended in several, each decided anew."""

MAX_ROUNDS = 1_000
"""Orders that others move while they are being ended are chosen again; without an end, somebody moves them for ever."""

DECIDE_LIMIT_S = 20.0
"""For the right to decide about a SKU: another one who decides takes some seconds at most."""

DECIDE_POLL_S = 0.05

KNOWN_SKUS = 65_536
"""SKUs whose policy is remembered: about 10 MB."""

READS_AT_ONCE = 16
"""Of policies of new SKUs."""

QUIET_S = 10.0
"""After this long without an event the counter of a SKU is compared with what was sold."""

_log = structlog.get_logger(__name__)

Move = Callable[[Sequence[Transition]], Awaitable[Mapping[str, Order | None]]]
"""Makes steps and returns how each order stands then; see `orders.moving.move_orders`."""

Repair = Callable[[str], Awaitable[object]]
"""Brings the counter of a SKU right."""


class Excess(NamedTuple):
    """What a SKU has sold, what it had, and the orders that must go, in order. None must if `sold` <= `stock`."""

    sku: str
    stock: int
    sold: int
    beyond: Sequence[TalliedOrder]


class Compensated(NamedTuple):
    """`excess` as it was found at last, when none was left to end; `ended` by this run."""

    excess: Excess
    ended: Sequence[TalliedOrder]


class CompensationMeters(Protocol):
    def oversold(self, orders: int, units: int) -> None: ...


def choose(first: Sequence[TalliedOrder], units: int) -> Sequence[TalliedOrder]:
    """As many of `first`, in order, as give back `units` or more."""
    chosen: list[TalliedOrder] = []
    for candidate in first:
        if units <= 0:
            break
        chosen.append(candidate)
        units -= candidate.units
    return chosen


async def excess_of(
    sku: str, tallies: Tallies, store: StockStore, victims: Victims, limit: int = MAX_ORDERS_PER_ROUND
) -> Excess | None:
    """What is to be done now; changes nothing. None: the SKU is not sold by counting. At most `limit` orders are named.

    Raises JournalUnreachable, StoreUnreachable.
    """
    live = await tallies.live(sku, victims, limit)
    # Read last: a restock that comes meanwhile may save an order.
    ledger = await store.read(sku, Consistency.STRONG)
    if ledger is None or ledger.policy is not StockPolicy.COUNTER:
        return None
    stock = sum(ledger.restocks.values())
    return Excess(sku, stock, live.units, choose(live.first, live.units - stock))


async def compensate(sku: str, tallies: Tallies, store: StockStore, victims: Victims, move: Move) -> Compensated | None:
    """Ends orders until the SKU has not sold more than it had. None: it is not sold by counting.

    Raises JournalUnreachable, StoreUnreachable, KeeperUnreachable: some orders may have been ended, and calling it
    again is right.
    """
    async with asyncio.timeout(DECIDE_LIMIT_S) as waiting:
        try:
            while True:
                async with tallies.lease(sku) as mine:
                    if mine:
                        waiting.reschedule(None)
                        return await _compensate(sku, tallies, store, victims, move)
                await asyncio.sleep(DECIDE_POLL_S)
        except TimeoutError as error:
            if not waiting.expired():
                raise
            raise JournalUnreachable(f"somebody else decides about {sku} for {DECIDE_LIMIT_S:g} s") from error


async def _compensate(
    sku: str, tallies: Tallies, store: StockStore, victims: Victims, move: Move
) -> Compensated | None:
    ended: list[TalliedOrder] = []
    for _ in range(MAX_ROUNDS):
        excess = await excess_of(sku, tallies, store, victims)
        if excess is None:
            return None
        if not excess.beyond:
            return Compensated(excess, ended)
        steps = [Transition(each.order, OrderState.CANCELLED, ENDED_AS_OVERSOLD) for each in excess.beyond]
        standing = await move(steps)
        for each in excess.beyond:
            order = standing.get(each.order.order_id)
            if order is not None and order.version == each.order.version + 1 and order.reason == ENDED_AS_OVERSOLD:
                ended.append(TalliedOrder(order, each.units))
    raise JournalUnreachable(f"orders of {sku} move faster than they can be ended")


class Compensation:
    """The consumer of `stock-changed`."""

    def __init__(
        self,
        tallies: Tallies,
        store: StockStore,
        move: Move,
        repair: Repair,
        meters: CompensationMeters,
        *,
        victims: Victims,
        monotonic: Callable[[], float],
    ) -> None:
        self._tallies = tallies
        self._store = store
        self._move = move
        self._repair = repair
        self._meters = meters
        self._victims = victims
        self._monotonic = monotonic
        self._counted: dict[str, bool] = {}
        self._stock: dict[str, int] = {}
        self._unrepaired: dict[str, float] = {}

    async def handle(self, events: Sequence[LoggedEvent]) -> None:
        await self._learn({each.event.key for each in events})
        counted = [each for each in events if self._counted.get(each.event.key)]
        if not counted:
            return
        for sku, tally in (await self._tallies.add([_stock_event(each) for each in counted])).items():
            self._unrepaired[sku] = self._monotonic()
            # Stock only grows: below what was there once, there is nothing to decide.
            if tally > self._stock.get(sku, 0):
                await self._compensate(sku)

    async def _compensate(self, sku: str) -> None:
        done = await compensate(sku, self._tallies, self._store, self._victims, self._move)
        if done is None:
            return
        self._stock[sku] = done.excess.stock
        if done.ended:
            units = sum(each.units for each in done.ended)
            self._meters.oversold(len(done.ended), units)
            _log.warning("oversold", sku=sku, orders=len(done.ended), units=units, stock=done.excess.stock)

    async def _learn(self, skus: set[str]) -> None:
        """Which of the SKUs are sold by counting: that never changes."""
        new = sorted(skus - self._counted.keys())
        if len(self._counted) + len(new) > KNOWN_SKUS:
            self._counted.clear()
            new = sorted(skus)
        for start in range(0, len(new), READS_AT_ONCE):
            some = new[start : start + READS_AT_ONCE]
            found = await asyncio.gather(*(self._store.read(sku, Consistency.QUORUM) for sku in some))
            for sku, ledger in zip(some, found, strict=True):
                if ledger is not None:
                    self._counted[sku] = ledger.policy is StockPolicy.COUNTER

    async def keep_repairing(self) -> None:
        """For ever: compares the counter of each SKU that has become quiet with what was sold, and mends it."""
        while True:
            await asyncio.sleep(QUIET_S)
            await self.repair_quiet()

    async def repair_quiet(self) -> None:
        before = self._monotonic() - QUIET_S
        for sku in [sku for sku, last in self._unrepaired.items() if last <= before]:
            try:
                await self._repair(sku)
            except Exception as error:  # noqa: BLE001 - tried again next time; selling does not depend on it
                _log.warning("counter_not_repaired", sku=sku, error=repr(error))
            else:
                if self._unrepaired.get(sku, before + 1) <= before:
                    del self._unrepaired[sku]


def _stock_event(logged: LoggedEvent) -> StockEvent:
    changed = StockChanged.FromString(logged.event.value)
    return StockEvent(changed.sku, changed.order_id, -changed.delta, logged.event.position)
