"""A link does what its weather says, to the connections of its own caller and to nobody else's."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from deploy.local.ports import LOOPBACK, free_port
from tests.chaos.links import SLOW_S, Door, Link, Network, Weather

HOST = "127.0.1.200"
LINK = Link("test", "echo")
SOON_S = 0.5
LIMIT_S = 5.0

CHILD = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as connection:
    connection.sendall(b"x")
    sys.exit(connection.recv(1) != b"x")
"""


class Echo(NamedTuple):
    """A server that is reached through a link. `heard` is set when anything has come to it."""

    network: Network
    port: int
    heard: asyncio.Event


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    port = free_port([LOOPBACK, HOST])
    heard = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000):
                heard.set()
                writer.write(data)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, LOOPBACK, port)
    network = Network([Door("echo", HOST, LOOPBACK, port, ["test"])], lambda: {"test": os.getpid()})
    network.start()
    try:
        yield Echo(network, port, heard)
    finally:
        await asyncio.to_thread(network.stop)
        server.close()
        await server.wait_closed()


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, text: bytes, limit_s: float = LIMIT_S) -> bytes:
        self.writer.write(text)
        return await self.hears(len(text), limit_s)

    async def hears(self, count: int, limit_s: float = LIMIT_S) -> bytes:
        async with asyncio.timeout(limit_s):
            return await self.reader.readexactly(count)


@asynccontextmanager
async def calling(echo: Echo) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(HOST, echo.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


async def test_a_clear_link_passes_everything(echo: Echo) -> None:
    async with calling(echo) as caller:
        assert await caller.says(b"a" * 300_000) == b"a" * 300_000


async def test_a_cut_link_resets_what_is_open_and_what_is_opened(echo: Echo) -> None:
    async with calling(echo) as caller:
        await caller.says(b"hello")
        echo.network.change(LINK, Weather.CUT)
        with pytest.raises(ConnectionResetError):
            await caller.hears(1)
    # It may hear of it while it is still connecting.
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        async with calling(echo) as fresh:
            await fresh.says(b"hello")
    echo.network.change(LINK, Weather.CLEAR)
    async with calling(echo) as fresh:
        assert await fresh.says(b"hello") == b"hello"


async def test_a_frozen_link_keeps_everything_for_later(echo: Echo) -> None:
    async with calling(echo) as caller:
        await caller.says(b"hello")
        echo.network.change(LINK, Weather.FROZEN)
        echo.heard.clear()
        async with calling(echo) as fresh:
            for each in (caller, fresh):
                with pytest.raises(TimeoutError):
                    await each.says(b"later", SOON_S)
            assert not echo.heard.is_set()
            echo.network.change(LINK, Weather.CLEAR)
            for each in (caller, fresh):
                assert await each.hears(5) == b"later"


async def test_over_a_mute_link_the_server_hears_and_the_caller_does_not(echo: Echo) -> None:
    echo.network.change(LINK, Weather.MUTE)
    async with calling(echo) as caller:
        with pytest.raises(TimeoutError):
            await caller.says(b"work", SOON_S)
        assert echo.heard.is_set()
        echo.network.change(LINK, Weather.CLEAR)
        assert await caller.hears(4) == b"work"


async def test_over_a_slow_link_an_answer_is_late_both_ways(echo: Echo) -> None:
    echo.network.change(LINK, Weather.SLOW)
    async with calling(echo) as caller:
        began = time.monotonic()
        assert await caller.says(b"hello") == b"hello"
        assert time.monotonic() - began >= 2 * SLOW_S


async def test_the_links_of_other_callers_to_the_same_server_stay_as_they_are(echo: Echo) -> None:
    echo.network.change(LINK, Weather.CUT)
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, HOST, str(echo.port))
    assert await other.wait() == 0
    async with calling(echo) as caller:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await caller.says(b"x")


async def test_a_caller_is_known_while_it_opens_and_closes_other_files(echo: Echo) -> None:
    echo.network.change(LINK, Weather.CUT)
    enough = threading.Event()
    opening = threading.Thread(target=_open_and_close_until, args=(enough,))
    opening.start()
    try:
        for _ in range(50):
            async with calling(echo) as caller:
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await caller.says(b"x")
    finally:
        enough.set()
        opening.join()


def _open_and_close_until(enough: threading.Event) -> None:
    while not enough.is_set():
        for descriptor in [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]:
            os.close(descriptor)
