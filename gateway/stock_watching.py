"""Watches of stock: who watches a SKU is told how it stands, and again whenever that has changed.

Units move at every stock server and gateway, and come by restocks. So the ledger and the journal are asked, once for
each watched SKU however many watch it. Nothing is queued for anybody: who reads slowly is told how the stock stands
then.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import structlog

from gateway.metrics import Timed
from gateway.watches import Bell, Stopping, Watches
from sluice._gen.stock.v1.stock_pb2 import GetStockResponse
from sluice.errors import JournalUnreachable, StoreUnreachable
from sluice.seams.stock_store import Consistency

SKUS_PER_READ = 256
"""In one question to the journal. What cannot be read now holds up no more than these."""

FIRST_LOOKS_AT_ONCE = 16
"""When a gateway has stopped, all who watched there come at once."""

_log = structlog.get_logger(__name__)

ReadStock = Callable[[Sequence[str], Consistency], Awaitable[Mapping[str, GetStockResponse]]]


class NoSuchSkuToWatch(LookupError):
    """Nobody can watch a SKU that was never created."""


class Told(NamedTuple):
    """`resume_token` is the same for the same figures, whichever gateway tells them."""

    stock: GetStockResponse
    resume_token: str


def told(stock: GetStockResponse) -> Told:
    figures = GetStockResponse()
    figures.CopyFrom(stock)
    figures.ClearField("as_of")
    return Told(stock, blake2b(figures.SerializeToString(deterministic=True), digest_size=12).hexdigest())


class _Watched:
    """A SKU that is watched, as it was last seen."""

    __slots__ = ("changed", "first_look", "last")

    def __init__(self) -> None:
        self.last: Told | None = None
        self.changed = Bell()
        self.first_look = asyncio.Lock()

    def seen(self, stock: GetStockResponse) -> None:
        if self.last is not None and stock.as_of.ToNanoseconds() < self.last.stock.as_of.ToNanoseconds():
            return  # read before what was seen already, and answered after it
        now = told(stock)
        if self.last is None or now.resume_token != self.last.resume_token:
            self.last = now
            self.changed.ring()


class StockWatching:
    def __init__(
        self,
        read: ReadStock,
        *,
        max_watches: int,
        look_seconds: Timed,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._look_seconds = look_seconds
        self._sleep = sleep
        self._watches: Watches[_Watched] = Watches(max_watches, "too much stock is being watched")
        self._first_looks = asyncio.Semaphore(FIRST_LOOKS_AT_ONCE)

    @property
    def open_watches(self) -> int:
        return self._watches.open_watches

    async def watch(self, sku: str, resume_token: str) -> AsyncGenerator[Told, None]:
        """The stock as it stands, unless that is what `resume_token` stands for, and then whenever it has changed; for
        ever.

        Raises Overloaded, NoSuchSkuToWatch, Stopping, and StoreUnreachable or JournalUnreachable before it has seen the
        stock once only: afterwards a watch outlasts servers that are away.
        """
        with self._watches.place(), self._watches.watching(sku, _Watched()) as watched:
            await self._first_look(sku, watched)
            last = resume_token
            while True:
                if self._watches.stopping:
                    raise Stopping
                now, changed = watched.last, watched.changed.next_ring
                if now is not None and now.resume_token != last:
                    yield now
                    last = now.resume_token
                else:
                    await changed.wait()

    def stop(self) -> None:
        """Ends all watches, and every one that comes later."""
        self._watches.stop()

    async def keep_looking(self) -> None:
        """For ever. Asks nothing while nobody watches."""
        await self._watches.keep_looking(self._look_timed, self._sleep)

    async def _look_timed(self) -> None:
        with self._look_seconds.time():
            await self._look()

    async def _look(self) -> None:
        watched = self._watches.watched
        skus = list(watched)
        for at in range(0, len(skus), SKUS_PER_READ):
            still = [sku for sku in skus[at : at + SKUS_PER_READ] if sku in watched]
            try:
                stocks = await self._read(still, Consistency.QUORUM)
            except (StoreUnreachable, JournalUnreachable) as error:
                _log.debug("watched_stock_not_read", error=str(error))  # health and metrics tell of it
                continue
            for sku, stock in stocks.items():
                if sku in watched:
                    watched[sku].seen(stock)

    async def _first_look(self, sku: str, watched: _Watched) -> None:
        """Reads the stock if nobody who watches has: one for all who come at once."""
        async with watched.first_look:
            if watched.last is not None:
                return
            async with self._first_looks:
                stock = (await self._read([sku], Consistency.QUORUM)).get(sku)
            if stock is None:
                raise NoSuchSkuToWatch(sku)
            if watched.last is None:
                watched.seen(stock)
