"""Which orders travel together. Natural batching: what waits leaves at once while few batches are on their way, and
collects while many are. No timer: a lone order waits for nobody.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from sluice.client.answers import Line

MAX_BATCH_ORDERS = 500
"""Larger messages gain nothing on the way of an order, and the answer comes later."""

MAX_BATCH_BYTES = 1024 * 1024
"""A quarter of what the server takes in one message. Only carts of very many lines come near."""

EAGER_BATCHES = 3
"""So many batches leave with whatever waits: while one is committed, another is read by the gateway and a third is
taken apart here. All orders are shared out over so many: those that are answered together come back together."""

MIN_SHARED_ORDERS = 100
"""Smaller batches are not shared out: each costs the server a transaction, whatever its size."""

MAX_BATCHES = 8
"""What the server decides at once of one stream. Further batches than the eager ones leave only full."""


class Undecided:
    """An order whose caller waits. `doubtful`: an attempt of it may yet have an effect that nobody was told."""

    __slots__ = ("answer", "attempts", "deadline", "doubtful", "entry", "heard", "lines", "order_id")

    def __init__(
        self, order_id: str, lines: tuple[Line, ...], entry: bytes, deadline: float, answer: "asyncio.Future[bool]"
    ) -> None:
        self.order_id = order_id
        self.lines = lines
        self.entry = entry
        self.deadline = deadline
        self.answer = answer
        self.attempts = 0
        self.doubtful = False
        self.heard = ""


class Batches:
    """Orders that wait, and batches that are on their way."""

    def __init__(self) -> None:
        self._waiting: deque[Undecided] = deque()
        self._under_way: dict[int, dict[str, Undecided]] = {}
        self._last_id = 0

    def waiting(self) -> Iterator[Undecided]:
        return iter(self._waiting)

    def under_way(self) -> Iterator[Undecided]:
        return (order for batch in self._under_way.values() for order in batch.values())

    def any_under_way(self) -> bool:
        return bool(self._under_way)

    def add(self, order: Undecided) -> None:
        self._waiting.append(order)

    def put_back(self, orders: Iterable[Undecided]) -> None:
        """Before all others: they came first."""
        self._waiting.extendleft(reversed(list(orders)))

    def may_send(self) -> bool:
        under_way = len(self._under_way)
        if under_way < EAGER_BATCHES:
            return bool(self._waiting)
        return under_way < MAX_BATCHES and len(self._waiting) >= MAX_BATCH_ORDERS

    def take(self) -> tuple[int, list[bytes], int]:
        """The next batch: its id, its entries, and how many orders were dropped because nobody waits for them any more.
        No two orders of a batch have the same id, so that each result has one owner.
        """
        most = self._share()
        batch: dict[str, Undecided] = {}
        entries: list[bytes] = []
        size = dropped = 0
        waiting = self._waiting
        while waiting and len(batch) < most:
            order = waiting[0]
            if order.answer.done():
                dropped += 1
            elif order.order_id in batch or (entries and size + len(order.entry) > MAX_BATCH_BYTES):
                break
            else:
                batch[order.order_id] = order
                entries.append(order.entry)
                size += len(order.entry)
                order.attempts += 1
            waiting.popleft()
        if batch:
            self._last_id += 1
            self._under_way[self._last_id] = batch
        return self._last_id, entries, dropped

    def _share(self) -> int:
        """How many orders the next batch has at most."""
        all_orders = len(self._waiting) + sum(len(batch) for batch in self._under_way.values())
        return min(max(-(-all_orders // EAGER_BATCHES), MIN_SHARED_ORDERS), MAX_BATCH_ORDERS)

    def of(self, batch_id: int) -> dict[str, Undecided]:
        """Those of the batch that have no result yet. Empty if there is no such batch."""
        return self._under_way.get(batch_id, {})

    def finish(self, batch_id: int) -> list[Undecided]:
        """Ends the batch; returns what has no result, which is nothing unless the server has a defect."""
        return list(self._under_way.pop(batch_id, {}).values())

    def recall(self) -> list[Undecided]:
        """Ends all batches that are under way, because their stream has ended; returns what has no result."""
        left = list(self.under_way())
        self._under_way.clear()
        return left

    def drop_done(self) -> int:
        """Drops those that wait to be sent and for which nobody waits any more; returns how many."""
        before = len(self._waiting)
        self._waiting = deque(order for order in self._waiting if not order.answer.done())
        return before - len(self._waiting)

    def drain(self) -> list[Undecided]:
        """Takes back everything."""
        left = [*self._waiting, *self.recall()]
        self._waiting.clear()
        return left
