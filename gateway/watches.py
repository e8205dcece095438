"""What watches of orders and of stock have in common: how many may be open, what is watched, when to look for changes.

Whatever is watched is looked for once, however many watch it. Nothing is queued for anybody: who reads slowly is told
how it stands then, and never of what was between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from sluice.errors import Overloaded

LOOK_INTERVAL_S = 0.25
"""Between looks for what has changed: a person who waits does not notice it, and who is asked hardly does."""

LOOK_SHARE = 0.1
"""Of the time looks take at most: with very much to look for the pause grows instead of the load."""

RETRY_WHEN_FULL_S = 1.0
"""When one watch too many is asked to come back: watches do not end by the batch."""


class Stopping(Exception):
    """This gateway stops and ends its watches: go on at another one, from what was told last."""


class Bell:
    """`ring` wakes who waits for `next_ring`, taken before looking at what the bell stands for."""

    __slots__ = ("next_ring",)

    def __init__(self) -> None:
        self.next_ring = asyncio.Event()

    def ring(self) -> None:
        self.next_ring.set()
        self.next_ring = asyncio.Event()


class Watched(Protocol):
    """Something that is watched, as it was last seen. `changed` rings when it is seen to have changed."""

    @property
    def changed(self) -> Bell: ...


W = TypeVar("W", bound=Watched)


class Watches(Generic[W]):
    """`watched`: what is watched now, by order id or SKU."""

    def __init__(self, max_watches: int, too_many: str) -> None:
        self._max_watches = max_watches
        self._too_many = too_many
        self._any_watched = asyncio.Event()
        self._watches: dict[str, int] = {}
        self.watched: dict[str, W] = {}
        self.open_watches = 0
        self.stopping = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """Of one watch. Raises Overloaded."""
        if self.open_watches >= self._max_watches:
            raise Overloaded(self._too_many, retry_after_s=RETRY_WHEN_FULL_S)
        self.open_watches += 1
        try:
            yield
        finally:
            self.open_watches -= 1

    @contextmanager
    def watching(self, key: str, unseen: W) -> Iterator[W]:
        """What is looked for under this key from now on: `unseen`, if nobody watches it yet."""
        watched = self.watched.setdefault(key, unseen)
        self._watches[key] = self._watches.get(key, 0) + 1
        self._any_watched.set()
        try:
            yield watched
        finally:
            self._watches[key] -= 1
            if not self._watches[key]:
                del self._watches[key], self.watched[key]
            if not self.watched:
                self._any_watched.clear()

    def stop(self) -> None:
        """Ends all watches, and every one that comes later."""
        self.stopping = True
        for watched in self.watched.values():
            watched.changed.ring()

    async def keep_looking(
        self, look: Callable[[], Awaitable[None]], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """For ever. Does nothing while nobody watches."""
        loop = asyncio.get_running_loop()
        while True:
            await self._any_watched.wait()
            began = loop.time()
            await look()
            took_s = loop.time() - began
            await sleep(max(LOOK_INTERVAL_S, took_s * (1 / LOOK_SHARE - 1)))
