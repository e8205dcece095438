"""Natural batching: start with what is there, collect while batches are in flight.

An idle coalescer adds no latency; a loaded one makes bigger batches by itself. Items carry their own way of being
answered; the coalescer knows nothing of results.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from sluice.errors import Overloaded

Item = TypeVar("Item")

RETRY_WHEN_FULL_S = 0.1
"""When a full queue asks callers to come back: a few batches later."""


class Coalescer(Generic[Item]):
    """Joins submitted items into batches and keeps at most `max_in_flight` of them on the way.

    `send` must not raise: it answers every item of its batch, whatever happens. `weigh` gives an item's share of
    `max_batch_weight`; an item heavier than that travels alone. `max_queued_weight` bounds what waits. `eager_batches`
    leave as soon as anything waits; further ones only when `worth_weight` waits, because what a batch costs besides its
    items is paid for each. By default all are eager. `gather_s` is how long a batch that is much smaller than the one
    before it waits for more: those who were answered together come back one after the other, and without it the first
    of them would leave alone. A lone caller never waits: the batch before it was as small.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], Coroutine[None, None, None]],
        *,
        weigh: Callable[[Item], int],
        max_batch_weight: int,
        max_in_flight: int,
        max_queued_weight: int,
        eager_batches: int | None = None,
        worth_weight: int = 0,
        gather_s: float = 0.0,
    ) -> None:
        self._send = send
        self._weigh = weigh
        self._max_batch_weight = max_batch_weight
        self._max_in_flight = max_in_flight
        self._max_queued_weight = max_queued_weight
        self._eager_batches = max_in_flight if eager_batches is None else eager_batches
        self._worth_weight = worth_weight
        self._gather_s = gather_s
        self._last_batch_weight = 0
        self._queue: deque[Item] = deque()
        self._queued_weight = 0
        self._scheduled = False
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def queued_weight(self) -> int:
        return self._queued_weight

    def submit(self, item: Item) -> None:
        """Queues the item; raises Overloaded, with nothing queued, if too much waits already."""
        weight = self._weigh(item)
        if self._queued_weight + weight > self._max_queued_weight and self._queue:
            raise Overloaded("too many orders are waiting", retry_after_s=RETRY_WHEN_FULL_S)
        self._queue.append(item)
        self._queued_weight += weight
        self._schedule()

    def drain_queue(self) -> list[Item]:
        """Takes back everything that has not been sent."""
        items = list(self._queue)
        self._queue.clear()
        self._queued_weight = 0
        return items

    async def idle(self) -> None:
        """Returns when nothing is queued or in flight."""
        while self._queue or self._in_flight:
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            else:
                await asyncio.sleep(self._gather_s)

    def _start_batches(self) -> None:
        self._scheduled = False
        while self._queue and self._may_start():
            task = asyncio.create_task(self._send(self._next_batch()))
            self._in_flight.add(task)
            task.add_done_callback(self._finished)

    def _schedule(self) -> None:
        if self._scheduled or not self._queue or not self._may_start():
            return
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._gather_s and 2 * self._queued_weight < self._last_batch_weight:
            loop.call_later(self._gather_s, self._start_batches)
        else:
            # Not at once: what else arrives in this turn of the event loop joins the batch.
            loop.call_soon(self._start_batches)

    def _may_start(self) -> bool:
        in_flight = len(self._in_flight)
        if in_flight >= self._eager_batches and self._queued_weight < self._worth_weight:
            return False
        return in_flight < self._max_in_flight

    def _next_batch(self) -> list[Item]:
        batch = [self._queue.popleft()]
        weight = self._weigh(batch[0])
        while self._queue and weight + self._weigh(self._queue[0]) <= self._max_batch_weight:
            item = self._queue.popleft()
            weight += self._weigh(item)
            batch.append(item)
        self._queued_weight -= weight
        self._last_batch_weight = weight
        return batch

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": "a coalescer's send raised", "exception": failure})
        self._schedule()
