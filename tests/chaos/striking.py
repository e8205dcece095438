"""Does to the running system what was drawn, undoes it, and remembers both."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from deploy.local.ports import PortHeldError
from deploy.local.processes import START_LIMIT_S, NotAnsweringError, Process, tail
from tests.chaos.faults import Disturb, Fault, Freeze, Kill, Strike, role_of
from tests.chaos.links import Weather
from tests.chaos.system import System

FENCED = "has fenced this incarnation"
"""What a stock server says before it ends because it was taken for dead. Whoever runs one starts it again."""

LOOK_S = 0.5


class Broken(Exception):
    """A process ended by itself, or does not start again. There is no point in going on."""


class Event(NamedTuple):
    """`ended` is None while it lasts."""

    began: float
    ended: float | None
    what: str


class Striking:
    """Faults on one system, from the moment it stands."""

    def __init__(self, system: System, say: Callable[[str], None]) -> None:
        self._system = system
        self._say = say
        self._started = time.monotonic()
        self._events: list[Event] = []
        # Whoever kills or starts a process holds its lock: nobody else takes its end for an accident.
        self._handling = {name: asyncio.Lock() for name in system.names}

    @property
    def now_s(self) -> float:
        """Since the system stood."""
        return time.monotonic() - self._started

    def history(self, since_s: float = 0.0, until_s: float = float("inf")) -> list[str]:
        """What was broken in that time, a line each."""
        return [
            f"{event.began:8.1f} to {'     ...' if event.ended is None else format(event.ended, '8.1f')}  {event.what}"
            for event in self._events
            if event.began <= until_s and (event.ended is None or event.ended >= since_s)
        ]

    async def strike(self, strike: Strike) -> None:
        """Returns when all of it is undone. Raises Broken."""
        async with asyncio.TaskGroup() as faults:
            for after_s, fault in strike.faults:
                faults.create_task(self._do_and_undo(after_s, fault))

    async def keep_restarting(self) -> None:
        """Starts again what ends because it was fenced, for ever. Raises Broken when something else ends by itself."""
        while True:
            for name in self._system.names:
                if not self._handling[name].locked():
                    async with self._handling[name]:
                        await self._start_if_fenced(name)
            await asyncio.sleep(LOOK_S)

    async def make_whole(self) -> None:
        """Everything runs, answers, and is reached. Raises Broken."""
        await asyncio.to_thread(self._system.network.clear_all)
        for name in self._system.names:
            await asyncio.to_thread(self._process(name).cont)
        for name in self._system.names:
            async with self._handling[name]:
                await self._start_if_fenced(name)
                await _answers(self._process(name))

    async def _do_and_undo(self, after_s: float, fault: Fault) -> None:
        await asyncio.sleep(after_s)
        began = self.now_s
        self._say(str(fault))
        place = len(self._events)
        self._events.append(Event(began, None, str(fault)))
        try:
            match fault:
                case Kill(name, for_s):
                    await self._kill(name, for_s)
                case Freeze(name, for_s):
                    await self._freeze(name, for_s)
                case Disturb(links, weather, for_s):
                    for link in links:
                        self._system.network.change(link, weather)
                    await asyncio.sleep(for_s)
                    for link in links:
                        self._system.network.change(link, Weather.CLEAR)
        finally:
            self._events[place] = Event(began, self.now_s, str(fault))

    async def _kill(self, name: str, for_s: float) -> None:
        process = self._process(name)
        async with self._handling[name]:
            await asyncio.to_thread(process.kill)
            await asyncio.sleep(for_s)
            await _start(process)

    async def _freeze(self, name: str, for_s: float) -> None:
        process = self._process(name)
        await asyncio.to_thread(process.stop)
        try:
            await asyncio.sleep(for_s)
        finally:
            await asyncio.to_thread(process.cont)

    async def _start_if_fenced(self, name: str) -> None:
        process = self._process(name)
        if process.alive:
            return
        if role_of(name) != "stockd" or FENCED not in tail(process.command.log):
            raise Broken(f"{name} ended by itself: {tail(process.command.log)}")
        event = f"{name} ended because it was fenced, and was started again"
        self._say(event)
        self._events.append(Event(self.now_s, self.now_s, event))
        await _start(process)

    def _process(self, name: str) -> Process:
        return self._system.cluster.process(name)


async def _start(process: Process) -> None:
    """Waits in short steps, so that a run that is stopped need not wait for a server that is starting."""
    try:
        await asyncio.to_thread(process.launch)
    except PortHeldError as error:
        raise Broken(str(error)) from error
    await _answers(process)


async def _answers(process: Process) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    name, log = process.command.name, process.command.log
    while True:
        alive = process.alive
        try:
            await asyncio.to_thread(process.answers)
        except NotAnsweringError as error:
            refusal = str(error)
        else:
            return
        if not alive:
            raise Broken(f"{name} ended while it started: {tail(log)}")
        if time.monotonic() > deadline:
            raise Broken(f"{name} did not answer for {START_LIMIT_S:g} s ({refusal}): {tail(log)}")
        await asyncio.sleep(LOOK_S)
