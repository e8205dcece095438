"""One for all lanes of a consumer: when something it needs is away, all of them wait and one at a time tries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
"""Between tries while a dependency is away, doubling: soon enough after it is back, too seldom to keep it down."""

_log = structlog.get_logger(__name__)


class Breaker:
    def __init__(self, consumer: str) -> None:
        self._consumer = consumer
        self._pause_s = 0.0
        self._trying = False
        self._changed = asyncio.Event()
        self._reason: str | None = None

    @property
    def open(self) -> bool:
        return self._reason is not None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Entered at once while all is well; else by one at a time, after a pause."""
        while self.open and self._trying:
            await self._changed.wait()
        if not self.open:
            yield
            return
        self._trying = True
        try:
            await asyncio.sleep(self._pause_s)
            yield
        finally:
            self._trying = False
            self._wake()

    def away(self, reason: str) -> None:
        if not self.open:
            self._pause_s = FIRST_PAUSE_S
            self._reason = reason
            _log.warning("consumer_waits_for_dependency", consumer=self._consumer, reason=reason)
        elif self._trying:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def answered(self) -> None:
        if self.open:
            self._reason = None
            _log.info("consumer_goes_on", consumer=self._consumer)
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
