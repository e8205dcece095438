"""How a process stands: whether its event loop moves, and whether it can do its work. For who asks from a thread."""

import asyncio
from collections.abc import Callable, Sequence

BEAT_INTERVAL_S = 0.5

STUCK_AFTER_S = 10.0
"""Nothing that a working process does holds its event loop up for a second; a machine that swaps or steals may."""


class Standing:
    """Made on the event loop that it watches. Not ready until somebody says what is needed."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._missing: Callable[[], Sequence[str]] = lambda: ("it starts",)
        self._loop = asyncio.get_running_loop()
        self._beat()

    def ready_unless(self, missing: Callable[[], Sequence[str]]) -> None:
        """`missing` says what is missing now, in words. It is called from other threads."""
        self._missing = missing

    def ready(self) -> None:
        """Whatever it needs later: it goes on by itself when that is back."""
        self._missing = tuple

    def why_not_alive(self) -> str:
        """Empty if it is."""
        silent_s = self._monotonic() - self.last_beat
        return f"the event loop has not moved for {silent_s:.1f} s" if silent_s > STUCK_AFTER_S else ""

    def why_not_ready(self) -> str:
        """Empty if it is."""
        return self.why_not_alive() or ", ".join(self._missing())

    def _beat(self) -> None:
        self.last_beat = self._monotonic()
        self._loop.call_later(BEAT_INTERVAL_S, self._beat)
