"""Who may ask the ledger next, when more want to than it can answer at a time."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import IntEnum

AT_ONCE = 512
"""Requests of one engine. Fewer than CassandraSession has places for (96): probes and counting come beside them."""

AHEAD_AT_ONCE = 64
"""SKUs of which units are taken that no order waits for. When thousands want more at the same moment, as at the start
of a sale, the others sell from memory meanwhile."""


class Urgency(IntEnum):
    """Lowest first: a SKU that was read is written before another is read. In the order of arrival all would be read
    before any is written, and the orders that wait for them would all be late together.
    """

    WRITE = 0
    READ = 1


class Turns:
    """First come, first served within an urgency."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._crowded_at = float("-inf")
        self._free = AT_ONCE
        self._ahead = 0
        self._came = 0
        self._queue: list[tuple[Urgency, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, urgency: Urgency) -> AsyncIterator[None]:
        """One request, while the block lasts."""
        self._came += 1
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (urgency, self._came, mine))
        self._admit()
        if self.crowded():
            self._crowded_at = self._monotonic()
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():  # admitted at the same moment
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def ahead(self) -> Iterator[bool]:
        """Whether this is the time to take what no order waits for: not if somebody would have to wait for it."""
        if self.crowded() or self._ahead == AHEAD_AT_ONCE:
            yield False
            return
        self._ahead += 1
        try:
            yield True
        finally:
            self._ahead -= 1

    def crowded(self) -> bool:
        """Whether somebody has to wait."""
        return self._free == 0

    def were_crowded(self, within_s: float) -> bool:
        """Whether somebody had to wait lately."""
        return self._monotonic() - self._crowded_at < within_s

    def _leave(self) -> None:
        self._free += 1
        self._admit()

    def _admit(self) -> None:
        while self._free and self._queue:
            _, _, next_one = heapq.heappop(self._queue)
            if not next_one.done():
                next_one.set_result(None)
                self._free -= 1
