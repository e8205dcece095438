"""An event loop whose clock jumps to the next timer when nothing else is to be done.

Hours pass in no time, in the same order every run. When nothing can ever happen again the loop says so, instead of
hanging: that is how tests notice an order that nobody will decide.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


class NothingLeftToHappen(Exception):
    """Everybody waits for somebody else."""


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingLeftToHappen
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def let_run(turns: int = 30) -> None:
    """Lets everything happen that needs no time to pass."""
    for _ in range(turns):
        await asyncio.sleep(0)


def clock() -> float:
    """The running loop's time, as domain code is given it."""
    return asyncio.get_running_loop().time()
