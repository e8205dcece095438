"""Commands and scripts to one Redis server. Every wait is bounded, and nothing is ever sent twice.

redis-py's own client retries commands and does not say whether a failed one had been sent. So this goes one level
below it: its connections and its pool, one connection for each request in flight.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoScriptError,
    RedisError,
)
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sluice.errors import StoreUnreachable

MAX_IN_FLIGHT = 64
"""Redis runs one script after the other; more at once would only wait there instead of here, each on a connection of
its own."""

PLACE_WAIT_S = 0.5
"""Longest wait for one of these places. With a request timeout of 1.2 s a call ends within 1.7 s, and callers hear
UNAVAILABLE within two."""

Argument = str | int

_LOST = (ConnectionLostError, RedisTimeoutError, OSError)  # the built-in TimeoutError is an OSError
_DENIED = (AuthenticationError, AuthorizationError)  # of redis-py's connection errors; waiting does not help

_REFUSALS = frozenset(
    {
        "BUSY",  # somebody's script runs for too long
        "CLUSTERDOWN",
        "LOADING",  # still reading its log after a start
        "MASTERDOWN",
        "MISCONF",  # cannot write its log
        "NOREPLICAS",  # fewer than min-replicas-to-write
        "OOM",  # over maxmemory
        "READONLY",  # a replica, or a primary that became one
        "TRYAGAIN",  # a slot that is being moved
    }
)
"""Errors with which a server that may do it later declines a whole command or script before it begins."""


class Script:
    """A Lua script that the server knows by the hash of its text."""

    def __init__(self, text: str) -> None:
        # With this line the server decides before the first command of a script whether writes are possible (memory,
        # disk, replicas), and not between two of them: a script that fails in the middle keeps what it wrote.
        self.text = "#!lua\n" + text
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisSession:
    """All methods belong to one event loop. Replies are str, int, None and lists of these."""

    def __init__(self, url: str, request_timeout_s: float) -> None:
        """`url` is `redis://`, `rediss://` or `unix://`. Connects when it is needed. Raises ValueError."""
        self._pool = ConnectionPool.from_url(
            url,
            max_connections=MAX_IN_FLIGHT,
            decode_responses=True,
            protocol=2,  # with it, and without the library's name, a new connection needs no round trip
            driver_info=None,
            socket_timeout=None,  # one limit over connect, send and receive is ours
            socket_connect_timeout=request_timeout_s,
        )
        self._request_timeout_s = request_timeout_s
        self._places = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._closed = False

    async def run(self, script: Script, key: str, *arguments: Argument) -> Any:
        """Runs a script that touches `key` alone, once. Raises StoreUnreachable within PLACE_WAIT_S and the request
        timeout.
        """
        async with self._connection() as connection:
            try:
                (reply,) = await _exchange(connection, [("EVALSHA", script.sha, 1, key, *arguments)])
            except NoScriptError:  # a server that was started since: it ran nothing, and EVAL teaches it the script
                (reply,) = await _exchange(connection, [("EVAL", script.text, 1, key, *arguments)])
            return reply

    async def write(self, *command: Argument) -> Any:
        """Sends one command once. Raises as `run`."""
        async with self._connection() as connection:
            (reply,) = await _exchange(connection, [command])
            return reply

    async def read(self, *command: Argument) -> Any:
        """As `write`; a read changes nothing, so its outcome is never unknown."""
        (reply,) = await self.read_all([command])
        return reply

    async def read_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Many reads in one round trip. Other clients' writes may come between them. Raises as `read`."""
        try:
            async with self._connection() as connection:
                return await _exchange(connection, commands)
        except StoreUnreachable as error:
            raise StoreUnreachable(str(error)) from error

    async def close(self) -> None:
        self._closed = True
        with suppress(RedisTimeoutError):  # a hung server need not say goodbye
            await self._pool.aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        if self._closed:
            raise StoreUnreachable("Redis: this session is closed")
        try:
            async with asyncio.timeout(PLACE_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnreachable(f"{MAX_IN_FLIGHT} requests wait for Redis; this one was not sent") from None
        connection: AbstractConnection | None = None
        try:
            async with asyncio.timeout(self._request_timeout_s):
                # Only a connection with nothing to read is handed out: one that was closed meanwhile is made anew.
                connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
                yield connection
        except BaseException as error:
            if connection is not None:
                # An answer that comes late must not be read as the next request's.
                await connection.disconnect(nowait=True)
            if (translated := _translated(error, sent=connection is not None)) is not None:
                raise translated from error
            raise
        finally:
            if connection is not None:
                await self._pool.release(connection)
            self._places.release()


async def _exchange(connection: AbstractConnection, commands: Sequence[Sequence[Argument]]) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(commands))
    return [await connection.read_response() for _ in commands]


def _translated(error: BaseException, *, sent: bool) -> StoreUnreachable | None:
    """StoreUnreachable for what the world does to a request. None: a bug or a cancellation, which stays what it is."""
    if isinstance(error, RedisError) and _code(error) in _REFUSALS:
        return StoreUnreachable(f"Redis: {error}")
    if isinstance(error, _LOST) and not isinstance(error, _DENIED):
        return StoreUnreachable(f"Redis: {str(error) or 'no answer in time'}", outcome_unknown=sent)
    return None


def _code(error: RedisError) -> str:
    """The first word of the server's reply. redis-py cuts it off where it has a class for it."""
    return error.status_code or str(error).split(" ", maxsplit=1)[0]
