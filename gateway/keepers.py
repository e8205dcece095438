"""The stock servers as this gateway sees them: who may own a SKU (membership) and who answers now (liveness).

Membership ranks the servers per slot and is fixed for the life of the process; liveness only walks down the rank.
Being wrong costs speed, never correctness.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from uuid import UUID

import structlog

from sluice.errors import KeeperUnreachable
from sluice.ranking import ranking_table
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement, StockKeeper
from sluice.slots import CACHED_KEYS, slot_of

PROBE_INTERVAL_S = 0.25
PROBE_TIMEOUT_S = 0.5
"""Every server is asked this often whether it answers, and is away if it does not within the limit. So a server that
hangs is passed by after at most three quarters of a second, while one that is only waiting for its ledger may take as
long as orders can wait."""

SETTLE_TIMEOUT_S = 1.0
"""A settlement that is lost only costs time: the server reads the journal after its grace."""

SETTLE_DELAY_S = 0.001
"""Under load the orders that wait leave as soon as a batch is committed, and its settlement rides with them."""

MAX_PENDING_SETTLEMENTS = 10_000
"""What may pile up for a server that is away; it will find the rest in the journal."""

SOLD_OUT_BELIEVED_S = 0.25
"""After all owners of a SKU that is spread have said "out of stock", one of them is believed for so long: or all of the
buyers who come too late would be asked for at every owner. Units that come back meanwhile are found right after."""

_log = structlog.get_logger(__name__)


class KeeperLink:
    """One stock server: whether it answers, and the settlements that wait to be told."""

    def __init__(self, name: str, keeper: StockKeeper) -> None:
        self.name = name
        self.away = False
        self._keeper = keeper
        self._reserving: set[asyncio.Task[Reservation]] = set()
        self._settlements: list[Settlement] = []
        self._settle_scheduled = False
        self._settling: set[asyncio.Task[None]] = set()

    async def reserve(self, batch: ReserveBatch, timeout_s: float) -> Reservation:
        """Raises KeeperUnreachable: the server is away, or was found away meanwhile, or did not answer in time."""
        if self.away:
            raise KeeperUnreachable(f"{self.name} is away")
        settlements, self._settlements = self._settlements, []
        task = asyncio.ensure_future(self._keeper.reserve(batch, settlements, timeout_s))
        self._reserving.add(task)
        try:
            return await task
        except KeeperUnreachable as error:
            self.mark_away(str(error))
            raise
        except asyncio.CancelledError:
            if task.cancelled() and self.away:
                raise KeeperUnreachable(f"{self.name} was found away") from None
            raise
        finally:
            self._reserving.discard(task)

    async def reserve_return(self, units: Mapping[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        """Raises KeeperUnreachable."""
        if self.away:
            raise KeeperUnreachable(f"{self.name} is away")
        try:
            return await self._keeper.reserve_return(units, shard, timeout_s)
        except KeeperUnreachable as error:
            self.mark_away(str(error))
            raise

    def settle(self, settlement: Settlement) -> None:
        """Tells the server soon: with the next `Reserve` if one leaves within SETTLE_DELAY_S, else by itself."""
        if len(self._settlements) < MAX_PENDING_SETTLEMENTS:
            self._settlements.append(settlement)
        if not self._settle_scheduled:
            self._settle_scheduled = True
            asyncio.get_running_loop().call_later(SETTLE_DELAY_S, self._start_settling)

    def mark_away(self, reason: str) -> None:
        """Whoever waits for it asks another one now: a reservation that nobody hears of becomes void."""
        if not self.away:
            self.away = True
            _log.warning("stock server is away", stockd=self.name, reason=reason)
            for reserving in self._reserving:
                reserving.cancel()

    async def watch(self) -> None:
        """Asks for ever whether the server answers."""
        while True:
            try:
                await self._keeper.settle((), PROBE_TIMEOUT_S)
            except KeeperUnreachable as error:
                self.mark_away(str(error))
            else:
                if self.away:
                    self.away = False
                    _log.info("stock server is back", stockd=self.name)
            await asyncio.sleep(PROBE_INTERVAL_S)

    def close(self) -> None:
        for task in self._settling:
            task.cancel()

    def _start_settling(self) -> None:
        if self._settlements and not self.away:
            task = asyncio.ensure_future(self._settle())
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        else:
            self._settle_scheduled = False

    async def _settle(self) -> None:
        settlements, self._settlements = self._settlements, []
        try:
            await self._keeper.settle(settlements, SETTLE_TIMEOUT_S)
        except KeeperUnreachable as error:
            self.mark_away(str(error))
        self._start_settling()


class _Spread:
    """A SKU that several servers serve. `advice`: what each of them said last. `turn`: counts whom to ask."""

    __slots__ = ("advice", "sold_out_units", "sold_out_until", "turn")

    def __init__(self) -> None:
        self.advice: dict[KeeperLink, int] = {}
        self.turn = 0
        self.sold_out_until = float("-inf")
        self.sold_out_units = 0

    def owners(self) -> int:
        return max((count for link, count in self.advice.items() if not link.away), default=1)


class Keepers:
    """All stock servers of the membership."""

    def __init__(self, keepers: Mapping[str, StockKeeper]) -> None:
        self._links = {name: KeeperLink(name, keeper) for name, keeper in keepers.items()}
        ranking = ranking_table(dict.fromkeys(keepers, 1.0))
        self._spread: dict[str, _Spread] = {}
        self._ranked = lru_cache(maxsize=CACHED_KEYS)(
            lambda sku: tuple(self._links[name] for name in ranking[slot_of(sku)])
        )

    def owner_of(self, sku: str) -> KeeperLink:
        """Whom to ask: the best-ranked server that answers, the best-ranked of all if none does. Of a SKU that is
        spread: its owners in turn.
        """
        if sku in self._spread:
            spread = self._spread[sku]
            owners = self.owners_of(sku)
            spread.turn += 1
            return owners[spread.turn % len(owners)]
        ranked = self._ranked(sku)
        for link in ranked:
            if not link.away:
                return link
        return ranked[0]

    def owners_of(self, sku: str) -> Sequence[KeeperLink]:
        """The servers over which the SKU's orders are spread, best first: one, unless advice says more."""
        ranked = self._ranked(sku)
        answering = [link for link in ranked if not link.away] or ranked[:1]
        spread = self._spread.get(sku)
        return answering[: spread.owners() if spread else 1]

    def learn(self, link: KeeperLink, skus: Sequence[str], owners: Sequence[int]) -> None:
        """What a server advises about the SKUs that it was asked for, as in `Reservation.owners`.

        The highest advice of those who answer counts. All that are followed are asked all the time, so what any of
        them said before is soon replaced; and advice that is not followed does no harm.
        """
        if not owners and not self._spread:
            return
        for sku, count in zip(skus, owners or [1] * len(skus), strict=True):
            spread = self._spread.get(sku)
            if spread is None and count > 1:
                spread = self._spread[sku] = _Spread()
            if spread is None:
                continue
            spread.advice[link] = count
            if max(spread.advice.values()) == 1:
                del self._spread[sku]

    def is_spread(self, sku: str) -> bool:
        return sku in self._spread

    def other_owner(self, sku: str, asked: Sequence[KeeperLink], units: int, now: float) -> KeeperLink | None:
        """Who else may hold so many units of a SKU that those who were asked do not have. None: nobody; or all of them
        have said lately that they have not.
        """
        spread = self._spread.get(sku)
        if spread is None or (now < spread.sold_out_until and units >= spread.sold_out_units):
            return None
        for link in self.owners_of(sku):
            if link not in asked:
                return link
        spread.sold_out_until, spread.sold_out_units = now + SOLD_OUT_BELIEVED_S, units
        return None

    def came_back(self, skus: Iterable[str]) -> None:
        """Units of these come back to whoever granted them: that all owners had none is believed no longer."""
        for sku in skus:
            if (spread := self._spread.get(sku)) is not None:
                spread.sold_out_until = float("-inf")

    def links(self) -> Sequence[KeeperLink]:
        return tuple(self._links.values())

    async def watch(self) -> None:
        """Keeps the liveness of all servers true, for ever."""
        await asyncio.gather(*(link.watch() for link in self._links.values()))

    def all_away(self) -> bool:
        return all(link.away for link in self._links.values())

    def close(self) -> None:
        for link in self._links.values():
            link.close()
