"""Whether something this process needs answers now: probed in the background, told by those who find it away."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

PROBE_INTERVAL_S = 0.5
"""Health answers and admission are at most this much behind."""

PROBE_TIMEOUT_S = 1.0
"""A dependency that takes longer is away: callers must hear UNAVAILABLE within two seconds."""

_log = structlog.get_logger(__name__)


class Reachability:
    """One dependency. `probe` returns if it answers and raises if not."""

    def __init__(self, name: str, probe: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self.away = False
        self.on_change: Callable[[], None] = lambda: None
        self._probe = probe

    def mark_away(self, reason: str) -> None:
        """Somebody found it away. The next probe that succeeds takes this back."""
        if not self.away:
            self.away = True
            _log.warning("dependency is away", dependency=self.name, reason=reason)
            self.on_change()

    async def watch(self) -> None:
        """Probes for ever."""
        while True:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await self._probe()
            except Exception as error:  # noqa: BLE001 - whatever the probe raises, the dependency does not answer
                self.mark_away(str(error) or type(error).__name__)
            else:
                self._mark_back()
            await asyncio.sleep(PROBE_INTERVAL_S)

    def _mark_back(self) -> None:
        if self.away:
            self.away = False
            _log.info("dependency is back", dependency=self.name)
            self.on_change()
