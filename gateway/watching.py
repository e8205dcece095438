"""Watches of orders: who watches one is told how it stands, and again whenever it has moved, until it is final.

An order may be moved anywhere: at this gateway, at another one, by a consumer. So the journal is asked, once for all
watched orders together, however many watch them. Nothing is queued for anybody: who reads slowly is told how the order
stands then, and never of the states between.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.metrics import GatewayMetrics
from gateway.watches import Bell, Stopping, Watches
from journal.protocol import Journal
from sluice.coalescer import Coalescer
from sluice.errors import JournalUnreachable
from sluice.model import FINAL_STATES, Order, QueuePosition
from sluice.reachability import Reachability

MAX_ORDERS_PER_LOOK = 2_000
"""In one statement, so that none comes near the journal's time limit."""

FIRST_LOOKS_IN_FLIGHT = 1
"""When a gateway has stopped, all who watched there come at once: they are looked up together, a batch at a time."""


_BEFORE_ALL_VERSIONS = -1
"""An order in the queue has version 0, and who asks for all versions is told that it is there."""

FindQueued = Callable[[str, QueuePosition | None], Awaitable[Order | None]]
"""An order that does not stand in the journal, as it stands in the queue. Raises LogUnreachable."""


class NoSuchOrder(LookupError):
    """Nobody can watch an order that stands nowhere."""


class _Asked(NamedTuple):
    order_id: str
    found: asyncio.Future[Order | None]


class _Watched:
    """An order that is watched, as it was last seen."""

    __slots__ = ("changed", "order")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.changed = Bell()

    def seen(self, order: Order) -> None:
        if order.version > self.order.version:
            self.order = order
            self.changed.ring()


class Watching:
    def __init__(
        self,
        journal: Journal,
        reachability: Reachability,
        find_queued: FindQueued,
        *,
        max_watches: int,
        metrics: GatewayMetrics,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._journal = journal
        self._reachability = reachability
        self._find_queued = find_queued
        self._metrics = metrics
        self._sleep = sleep
        self._watches: Watches[_Watched] = Watches(max_watches, "too many orders are being watched")
        self._first_looks: Coalescer[_Asked] = Coalescer(
            self._find,
            weigh=lambda _: 1,
            max_batch_weight=MAX_ORDERS_PER_LOOK,
            max_in_flight=FIRST_LOOKS_IN_FLIGHT,
            max_queued_weight=max_watches,
        )

    @property
    def open_watches(self) -> int:
        return self._watches.open_watches

    async def watch(
        self, order_id: str, after_version: int, position: QueuePosition | None = None
    ) -> AsyncGenerator[Order, None]:
        """The order as it stands, if that is above `after_version`, and then as it stands whenever it has moved;
        ends when it is final. `position`: where it was queued, if it was.

        Raises Overloaded, NoSuchOrder, Stopping, and JournalUnreachable and LogUnreachable before the first order only:
        afterwards a watch outlasts a journal that is away.
        """
        with self._watches.place():
            found = await self._first_look(order_id) or await self._find_queued(order_id, position)
            if found is None:
                raise NoSuchOrder(order_id)
            with self._watches.watching(order_id, _Watched(found)) as watched:
                watched.seen(found)
                told = after_version or _BEFORE_ALL_VERSIONS
                while True:
                    if self._watches.stopping:
                        raise Stopping
                    order, moved = watched.order, watched.changed.next_ring
                    if order.version > told:
                        yield order
                        told = order.version
                    if order.state in FINAL_STATES:
                        return
                    await moved.wait()

    def stop(self) -> None:
        """Ends all watches, and every one that comes later."""
        self._watches.stop()

    async def keep_looking(self) -> None:
        """For ever. Asks nothing while nobody watches."""
        await self._watches.keep_looking(self._look_if_reached, self._sleep)

    async def _look_if_reached(self) -> None:
        if not self._reachability.away:
            try:
                await self._look()
            except JournalUnreachable as error:
                self._reachability.mark_away(str(error))

    async def _look(self) -> None:
        watched = self._watches.watched
        order_ids = list(watched)
        with self._metrics.watch_look_seconds.time():
            for at in range(0, len(order_ids), MAX_ORDERS_PER_LOOK):
                moved = await self._journal.find_newer(self._versions(order_ids[at : at + MAX_ORDERS_PER_LOOK]))
                for order_id, order in moved.items():
                    if order_id in watched:
                        watched[order_id].seen(order)

    def _versions(self, order_ids: list[str]) -> Mapping[str, int]:
        """Of those that are still watched."""
        watched = self._watches.watched
        return {order_id: watched[order_id].order.version for order_id in order_ids if order_id in watched}

    async def _first_look(self, order_id: str) -> Order | None:
        if self._reachability.away:
            raise JournalUnreachable("the journal does not answer")
        asked = _Asked(order_id, asyncio.get_running_loop().create_future())
        self._first_looks.submit(asked)
        return await asked.found

    async def _find(self, asked: list[_Asked]) -> None:
        waiting = _unanswered(asked)
        try:
            found = await self._journal.find_orders(list({each.order_id for each in waiting}))
        except Exception as error:  # noqa: BLE001 - whatever happens, everybody must hear of it
            for each in _unanswered(waiting):
                each.found.set_exception(error)
        else:
            for each in _unanswered(waiting):
                each.found.set_result(found.get(each.order_id))


def _unanswered(asked: Sequence[_Asked]) -> list[_Asked]:
    """Without those whose callers are gone."""
    return [each for each in asked if not each.found.done()]
