"""Who may ask the ledger next, when more want to than it can answer at a time."""

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

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

    def __init__(self, monotonic: Callable[[], float], at_once: int) -> None:
        """`at_once`: SKUs of one engine."""
        self._monotonic = monotonic
        self._crowded_at = float("-inf")
        self._free = at_once
        self._ahead = 0
        self._came = 0
        self._queue: list[tuple[Urgency, int, asyncio.Future[None]]] = []

    def turn(self, urgency: Urgency) -> "Turn":
        """One request, while the block lasts: `async with turns.turn(urgency):`."""
        return Turn(self, urgency)

    async def begin(self, urgency: Urgency) -> None:
        """For Turn: returns when it is the caller's turn, who must `end` it."""
        if not self._free:
            self._crowded_at = self._monotonic()
            self._came += 1
            mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._queue, (urgency, self._came, mine))
            try:
                await mine
            except asyncio.CancelledError:
                if not mine.cancelled():  # admitted at the same moment
                    self.end()
                raise
            return
        self._free -= 1
        if self.crowded():
            self._crowded_at = self._monotonic()

    def end(self) -> None:
        """For Turn."""
        self._free += 1
        while self._free and self._queue:
            _, _, next_one = heapq.heappop(self._queue)
            if not next_one.done():
                next_one.set_result(None)
                self._free -= 1

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


class Turn:
    """See Turns.turn. A class, as a first order of a SKU has several: a generator for each took a fifth of its time."""

    __slots__ = ("_turns", "_urgency")

    def __init__(self, turns: Turns, urgency: Urgency) -> None:
        self._turns = turns
        self._urgency = urgency

    async def __aenter__(self) -> None:
        await self._turns.begin(self._urgency)

    async def __aexit__(self, *raised: object) -> None:
        self._turns.end()
