"""How a store that starts together with its server waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sluice.errors import StoreUnreachable

T = TypeVar("T")

RETRY_PAUSE_S = 0.5
"""Between attempts: an outage costs at most this much more."""


async def retry_until(deadline: float, attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeats `attempt` while it raises StoreUnreachable; raises that once the loop's clock is past `deadline`."""
    while True:
        try:
            return await attempt()
        except StoreUnreachable:
            if asyncio.get_running_loop().time() + RETRY_PAUSE_S > deadline:
                raise
        await asyncio.sleep(RETRY_PAUSE_S)
