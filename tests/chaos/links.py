"""Links between processes that can be cut, frozen, muted and slowed: a TCP proxy before every server.

The proxy runs in a thread of its own, so that it passes traffic on whatever the test is busy with.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import uvloop

from tests.chaos.callers import calling_process

CHUNK_BYTES = 65_536
"""Read at once; on a slow link also what passes per delay."""

SLOW_S = 0.15
"""Added to every chunk in each direction: 400 KB/s, and answers 0.3 s late."""

CONNECT_LIMIT_S = 2.0
"""The server is on this machine: one that is frozen accepts through the kernel, one that is dead refuses at once."""

STOP_LIMIT_S = 5.0


class Weather(Enum):
    """What a link does to what passes it."""

    CLEAR = "clear"
    CUT = "cut"
    """Connections are reset, new ones as soon as they are made."""
    FROZEN = "frozen"
    """Connections stay, new ones are accepted, and nothing passes either way."""
    MUTE = "mute"
    """Requests pass, answers do not: the server acts, and its caller never hears of it."""
    SLOW = "slow"
    """Every chunk is late."""


class Link(NamedTuple):
    """From the process that connects to the one that listens, by name."""

    caller: str
    server: str

    def __str__(self) -> str:
        return f"{self.caller} -> {self.server}"


class Door(NamedTuple):
    """One port of a server: where callers find it, where it really listens, and who may call."""

    server: str
    host: str
    own_host: str
    port: int
    callers: Sequence[str]


class _Gate:
    """The weather on one link, for all of its connections."""

    def __init__(self) -> None:
        self.weather = Weather.CLEAR
        self.requests_pass = asyncio.Event()
        self.answers_pass = asyncio.Event()
        self.connections: set[_Connection] = set()
        self.change(Weather.CLEAR)

    def change(self, weather: Weather) -> None:
        self.weather = weather
        _set(self.requests_pass, weather is not Weather.FROZEN)
        _set(self.answers_pass, weather not in (Weather.FROZEN, Weather.MUTE))
        if weather is Weather.CUT:
            for connection in list(self.connections):
                connection.reset()


class Network:
    """All links. `pids` says which process is behind which name now; whoever is not among them calls undisturbed."""

    def __init__(self, doors: Sequence[Door], pids: Callable[[], Mapping[str, int]]) -> None:
        self._doors = doors
        self._pids = pids
        self._gates: dict[Link, _Gate] = {}
        self._serving: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)

    def start(self) -> None:
        """Raises OSError when an address is taken."""
        self._thread.start()
        self._on_loop(self._listen())

    def stop(self) -> None:
        self._on_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_LIMIT_S)
        self._loop.close()

    def change(self, link: Link, weather: Weather) -> None:
        self._on_loop(self._change(link, weather))

    def clear_all(self) -> None:
        for link in list(self._gates):
            self.change(link, Weather.CLEAR)

    def open_connections(self, link: Link) -> int:
        gate = self._gates.get(link)
        return len(gate.connections) if gate else 0

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(STOP_LIMIT_S)

    async def _listen(self) -> None:
        for door in self._doors:
            server = await asyncio.start_server(partial(self._accept, door), door.host, door.port)
            self._serving.append(server)

    async def _close(self) -> None:
        for server in self._serving:
            server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _change(self, link: Link, weather: Weather) -> None:
        self._gate(link).change(weather)

    def _gate(self, link: Link) -> _Gate:
        gate = self._gates.get(link)
        if gate is None:
            gate = self._gates[link] = _Gate()
        return gate

    async def _accept(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            pids = {name: pid for name, pid in self._pids().items() if name in door.callers}
            caller_port = writer.get_extra_info("peername")[1]
            name = await asyncio.to_thread(calling_process, caller_port, door.port, pids)
            # Whoever is nobody we know (a test, an audit) has a gate too, which nobody shuts.
            await _Connection(self._gate(Link(name or "others", door.server)), reader, writer).run(door)
        except asyncio.CancelledError:
            pass  # the network is being stopped
        finally:
            self._connections.discard(task)
            writer.transport.abort()


class _Connection:
    def __init__(self, gate: _Gate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._gate = gate
        self._reader = reader
        self._writers = [writer]

    async def run(self, door: Door) -> None:
        if self._gate.weather is Weather.CUT:
            self.reset()
            return
        self._gate.connections.add(self)
        try:
            # A frozen link swallows the first packet as well: the server does not hear of the caller yet.
            await self._gate.requests_pass.wait()
            async with asyncio.timeout(CONNECT_LIMIT_S):
                reader, writer = await asyncio.open_connection(door.own_host, door.port)
            self._writers.append(writer)
            _send_at_once(writer)
            _send_at_once(self._writers[0])
            await self._pass_both_ways(reader, writer)
        except OSError:  # the server refuses, or either end hung up; TimeoutError is one too
            self.reset()
        finally:
            self._gate.connections.discard(self)
            for each in self._writers:
                each.transport.abort()

    def reset(self) -> None:
        for writer in self._writers:
            if not writer.transport.is_closing():
                # Closing then sends a reset, which is what a cut looks like to whoever sends next.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    async def _pass_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gate, caller = self._gate, self._writers[0]
        ways = [
            asyncio.ensure_future(_pass(gate, gate.requests_pass, self._reader, writer)),
            asyncio.ensure_future(_pass(gate, gate.answers_pass, reader, caller)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pass(gate: _Gate, passes: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        if gate.weather is Weather.SLOW:
            await asyncio.sleep(SLOW_S)
        await passes.wait()
        if writer.transport.is_closing():
            return
        writer.write(data)
        await writer.drain()
    await passes.wait()
    if not writer.transport.is_closing():
        writer.write_eof()


def _set(event: asyncio.Event, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()


def _send_at_once(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
