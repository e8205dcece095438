"""What every long-running command does: uvloop, logs, metrics, waiting for what it needs, SIGTERM."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

from journal.postgres_place import WrongPlace
from sluice.errors import CannotListen, LedgerTooOld, Unreachable
from sluice.rpc.event_loop import EventLoop
from sluice.settings import CommonSettings
from sluice.telemetry import logs

Opened = TypeVar("Opened")

OPEN_RETRY_S = 0.5
"""How often something that is needed at start is tried again; a process that waits is better than one that loops
through restarts."""

GC_THRESHOLDS = (5_000, 10, 20)
"""A request makes thousands of short-lived objects and few cycles; the default looks for cycles every 700. But gRPC
leaves one with each call that it serves (five objects): to look after 20,000 stopped an embedded server with 5,800
calls/s for 14 ms a time, and after 5,000 for 4 to 7 (measured)."""

GC_THRESHOLDS_OF_EVENTS = (50_000, 20, 20)
"""For consumers and relays, where nobody waits for an answer. What is in flight is a hundred thousand objects that die
young, but not as young as a request's: looking through them after every 20,000 was a seventh of a consumer's CPU. After
every 200,000 it is less still, and costs 80 MB, because requests to Cassandra are cycles and carry what they wrote."""

_log = structlog.get_logger(__name__)


def run(settings: CommonSettings, role: str, main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Runs `main(stop)` until it returns; `stop` is set by SIGTERM and SIGINT."""
    logs.configure(settings.log_level, settings.log_format, role=role)
    # What was imported stays: going through it again with each full collection took 30 to 75 ms.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        uvloop.run(_with_signals(main), loop_factory=EventLoop)
    except (CannotListen, LedgerTooOld, WrongPlace) as error:
        raise SystemExit(str(error)) from error


async def _with_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


async def open_patiently(name: str, stop: asyncio.Event, open_it: Callable[[], Awaitable[Opened]]) -> Opened:
    """Tries until it opens. Raises CancelledError if the process is told to stop meanwhile."""
    told = False
    while True:
        try:
            return await open_it()
        except Unreachable as error:
            if not told:
                told = True
                _log.warning("waiting for a dependency", dependency=name, reason=str(error))
        if stop.is_set():
            raise asyncio.CancelledError
        await asyncio.sleep(OPEN_RETRY_S)


async def until_stopped(stop: asyncio.Event, *background: Coroutine[Any, Any, None]) -> None:
    """Runs `background` until `stop` is set; whatever ends one of them by an exception is raised here."""
    tasks = [asyncio.ensure_future(work) for work in background]
    waiter = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiter}:
            task.result()
    finally:
        for task in (waiter, *tasks):
            task.cancel()
        await asyncio.gather(waiter, *tasks, return_exceptions=True)
