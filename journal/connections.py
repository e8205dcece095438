"""PostgreSQL connections under one rule: an answer within the time limit, or JournalUnreachable.

A connection on which anything but a plain SQL error happened is thrown away; the next call opens a new one. So the
journal comes back by itself when its server does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import asyncpg
from asyncpg.protocol import protocol

from sluice.errors import JournalUnreachable

T = TypeVar("T")

Connection = asyncpg.Connection
Work = Callable[[Connection], Awaitable[T]]

KEEPALIVE_S = 5
"""How soon the server begins to ask whether a silent client is still there; three questions, one second apart. A lock
of a machine that vanished is free again after about eight seconds.
"""

ARRAYS = (list, tuple)
"""What may be an array among a statement's arguments. asyncpg asks each of an array's elements whether it is iterable,
as it may be an array again, by an abstract class: that took 0.8 of the 2.2 µs in which 500 orders a batch are made
arguments. Concrete types are asked for in no time."""

# SQLSTATE classes and codes that are the world's fault, not a bug's.
_OUTCOME_UNKNOWN = ("08", "57P01", "57P02", "57P03")
"""Connection lost; the server shuts down, crashes, is not up yet: the answer is missing, not negative."""
_NOTHING_HAPPENED = ("53", "58", "57014", "25006", "55P03", "55000")
"""Out of disk, memory or connections; I/O error; statement timeout; read-only standby: the transaction was aborted.
The last one: the database accepts no connections now."""


async def connect(url: str, timeout_s: float, statement_timeout_s: float) -> Connection:
    """Raises JournalUnreachable, or asyncpg's own errors if the server refuses this user or database.

    `statement_timeout_s`: the server gives up on a statement after this long, 0: never. Arrays are ARRAYS from now on.
    """
    protocol.IterableABC = ARRAYS  # type: ignore[attr-defined]  # of a module in C
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncpg.connect(
                url,
                timeout=timeout_s + 1,  # the limit above is the one that counts
                server_settings={
                    "application_name": "sluice",
                    "default_transaction_isolation": "read committed",  # the SQL functions rely on it
                    "synchronous_commit": "on",  # an answered order is on disk, whatever the server's default
                    "statement_timeout": f"{round(statement_timeout_s * 1000)}ms",
                    "jit": "off",  # compiling costs more than any statement here
                    "tcp_keepalives_idle": str(KEEPALIVE_S),
                    "tcp_keepalives_interval": "1",
                    "tcp_keepalives_count": "3",
                },
            )
    except Exception as error:
        raise _translated(error, timeout_s, started=False) from error


async def run_on(connection: Connection, work: Work[T], timeout_s: float) -> T:
    """Runs `work` on a connection that nobody else uses. After anything but a plain SQL error it is closed.

    Raises JournalUnreachable with `outcome_unknown`, or what `work` raises.
    """
    if connection.is_closed():
        raise JournalUnreachable("the journal's session is lost")
    try:
        async with asyncio.timeout(timeout_s):
            return await work(connection)
    except BaseException as error:
        if not _still_usable(connection, error):
            connection.terminate()
        if isinstance(error, Exception):
            raise _translated(error, timeout_s, started=True) from error
        raise


class Connections:
    """At most `count` connections, opened as they are needed, each used by one call at a time."""

    def __init__(self, url: str, count: int, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._closed = False
        # Last in, first out: what is open is used before another one is opened.
        self._free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        self._all: set[Connection] = set()
        for _ in range(count):
            self._free.put_nowait(None)

    async def run(self, work: Work[T]) -> T:
        """Waiting for a connection, opening it and the work itself share one time limit.

        Raises JournalUnreachable, or what `work` raises. A cancelled call may have taken effect.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._free.get()
        except TimeoutError as error:
            raise JournalUnreachable(f"no journal connection was free for {self._timeout_s} s") from error
        try:
            if connection is not None and connection.is_closed():
                self._all.discard(connection)
                connection = None
            if connection is None:
                connection = await self._open(deadline - loop.time())
            return await run_on(connection, work, max(deadline - loop.time(), 0.0))
        finally:
            self._free.put_nowait(connection)

    async def _open(self, timeout_s: float) -> Connection:
        self._check_open()
        connection = await connect(self._url, timeout_s, self._timeout_s)
        try:
            self._check_open()
        except JournalUnreachable:
            connection.terminate()
            raise
        self._all.add(connection)
        return connection

    def _check_open(self) -> None:
        if self._closed:
            raise JournalUnreachable("the journal is closed")

    async def close(self) -> None:
        """Calls in flight are cut off: whoever closes has stopped calling."""
        self._closed = True
        while self._all:
            await close(self._all.pop(), self._timeout_s)


async def close(connection: Connection, timeout_s: float) -> None:
    """Says goodbye if the server listens, and hangs up in any case."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # TimeoutError is an OSError
        await connection.close(timeout=timeout_s)
    if not connection.is_closed():
        connection.terminate()


def _still_usable(connection: Connection, error: BaseException) -> bool:
    return (
        isinstance(error, asyncpg.PostgresError) and not connection.is_closed() and not connection.is_in_transaction()
    )


def _translated(error: Exception, timeout_s: float, *, started: bool) -> Exception:
    """JournalUnreachable if the server did not answer, else the error itself: a bug or a wrong configuration."""
    if isinstance(error, TimeoutError):
        return JournalUnreachable(f"the journal did not answer within {timeout_s:.3g} s", outcome_unknown=started)
    # asyncpg raises the latter when the server has said goodbye, but its end of the socket is not closed yet.
    if isinstance(error, OSError | asyncpg.InternalClientError):
        return JournalUnreachable(str(error), outcome_unknown=started)
    if isinstance(error, asyncpg.PostgresError):
        sqlstate: str = error.sqlstate or ""
        if sqlstate.startswith(_OUTCOME_UNKNOWN):
            return JournalUnreachable(str(error), outcome_unknown=started)
        if sqlstate.startswith(_NOTHING_HAPPENED):
            return JournalUnreachable(str(error))
    return error
