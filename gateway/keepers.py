"""The stock servers as this gateway sees them: who may own a SKU (membership) and who answers now (liveness).

Membership ranks the servers per slot and is fixed for the life of the process; liveness only walks down the rank.
Being wrong costs speed, never correctness.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any

import structlog

from sluice.errors import KeeperUnreachable
from sluice.ranking import ranking_table
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement, StockKeeper
from sluice.slots import CACHED_KEYS, slot_of

PROBE_INTERVAL_S = 0.25
"""How often a server that did not answer is asked again: its SKUs are with the next in rank meanwhile."""

SETTLE_TIMEOUT_S = 1.0
"""A settlement that is lost only costs time: the server reads the journal after its grace."""

MAX_PENDING_SETTLEMENTS = 10_000
"""What may pile up for a server that is away; it will find the rest in the journal."""

_log = structlog.get_logger(__name__)


class KeeperLink:
    """One stock server: whether it answers, and the settlements that wait to be told."""

    def __init__(self, name: str, keeper: StockKeeper, reserve_timeout_s: float) -> None:
        self.name = name
        self.away = False
        self._keeper = keeper
        self._reserve_timeout_s = reserve_timeout_s
        self._settlements: list[Settlement] = []
        self._settle_scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def reserve(self, batch: ReserveBatch) -> Reservation:
        """Raises KeeperUnreachable, after which the server counts as away until it answers a probe."""
        settlements, self._settlements = self._settlements, []
        try:
            return await self._keeper.reserve(batch, settlements, self._reserve_timeout_s)
        except KeeperUnreachable as error:
            self.mark_away(str(error))
            raise

    def settle(self, settlement: Settlement) -> None:
        """Tells the server soon: with the next `Reserve` if one leaves in this turn of the loop, else by itself."""
        if len(self._settlements) < MAX_PENDING_SETTLEMENTS:
            self._settlements.append(settlement)
        if not self._settle_scheduled:
            self._settle_scheduled = True
            asyncio.get_running_loop().call_soon(self._start_settling)

    def mark_away(self, reason: str) -> None:
        if not self.away:
            self.away = True
            _log.warning("stock server is away", stockd=self.name, reason=reason)
            self._spawn(self._probe_until_back())

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start_settling(self) -> None:
        if self._settlements and not self.away:
            self._spawn(self._settle())
        else:
            self._settle_scheduled = False

    async def _settle(self) -> None:
        settlements, self._settlements = self._settlements, []
        try:
            await self._keeper.settle(settlements, SETTLE_TIMEOUT_S)
        except KeeperUnreachable as error:
            self.mark_away(str(error))
        self._start_settling()

    async def _probe_until_back(self) -> None:
        while self.away:
            await asyncio.sleep(PROBE_INTERVAL_S)
            try:
                await self._keeper.settle((), PROBE_INTERVAL_S)
            except KeeperUnreachable:
                continue
            self.away = False
            _log.info("stock server is back", stockd=self.name)


class Keepers:
    """All stock servers of the membership."""

    def __init__(self, keepers: Mapping[str, StockKeeper], reserve_timeout_s: float) -> None:
        self._links = {name: KeeperLink(name, keeper, reserve_timeout_s) for name, keeper in keepers.items()}
        ranking = ranking_table(dict.fromkeys(keepers, 1.0))
        self._ranked = lru_cache(maxsize=CACHED_KEYS)(
            lambda sku: tuple(self._links[name] for name in ranking[slot_of(sku)])
        )

    def owner_of(self, sku: str) -> KeeperLink:
        """The best-ranked server that answers; the best-ranked of all if none does."""
        ranked = self._ranked(sku)
        for link in ranked:
            if not link.away:
                return link
        return ranked[0]

    def links(self) -> Sequence[KeeperLink]:
        return tuple(self._links.values())

    def all_away(self) -> bool:
        return all(link.away for link in self._links.values())

    def close(self) -> None:
        for link in self._links.values():
            link.close()
