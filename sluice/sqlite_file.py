"""One SQLite file for everything that one process keeps: one writer thread, group commit, readers that never wait.

Writes that wait together share one transaction and one fsync. Each runs under its own savepoint, so a write that fails
takes only itself back. sqlite3 lets go of the interpreter lock at every step, so a write function does well to do much
with few statements (`json_each`): each statement more is one more wait for the event loop to yield.
"""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

from sluice.errors import Unreachable

T = TypeVar("T")

MAX_WAITING = 1_024
"""Calls that may wait for one thread; one more waits in its caller. Bounds what a group holds in memory."""

PAGE_CACHE_KIB = 16_384
"""Per connection. The hot pages are the right edges of a few trees; a process stays below 150 MB."""

WAL_LIMIT_BYTES = 64 * 2**20
"""What a long reader let the write-ahead log grow to is cut back to this at the next checkpoint."""

# Disk full, I/O error, lock of another program, file gone, made read-only, no memory: the world's fault, not a bug's.
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
    }
)


class SqliteUnavailable(Unreachable):
    """The file could not be read or written now: disk full, I/O error, closed."""


class AlreadyServed(Exception):
    """Another process serves this file. `pid` is None if it did not say which."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(f"{path} is served by {f'process {pid}' if pid else 'another process'}; stop it first")
        self.path = path
        self.pid = pid


class _Job(NamedTuple):
    run: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


class _Outcome(NamedTuple):
    job: _Job
    value: Any
    error: Exception | None


_RunGroup = Callable[[sqlite3.Connection, Sequence[_Job]], list[_Outcome]]


class _Thread:
    """Runs functions on one connection, in the order in which they were called. Must be made on the event loop."""

    def __init__(self, connection: sqlite3.Connection, run_group: _RunGroup, group_limit: int) -> None:
        self._connection = connection
        self._run_group = run_group
        self._group_limit = group_limit
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="sqlite", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        await self._room.acquire()
        if self._closed:
            self._room.release()
            raise SqliteUnavailable("the database file is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(function, future))
        return await future

    async def close(self) -> None:
        """Returns when what was called before is done."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        open_for_more = True
        while open_for_more:
            jobs, open_for_more = self._take_group()
            if jobs:
                outcomes = self._run_group(self._connection, jobs)
                try:
                    self._loop.call_soon_threadsafe(self._resolve, outcomes)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    break
        self._connection.close()

    def _take_group(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == self._group_limit:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _resolve(self, outcomes: Sequence[_Outcome]) -> None:
        for job, value, error in outcomes:
            self._room.release()
            if job.future.done():  # its caller was cancelled; the others of the group are not concerned
                continue
            if error is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(error)


class Snapshot:
    """The file as of one moment; see `SqliteFile.snapshot`."""

    def __init__(self, thread: _Thread) -> None:
        self._thread = thread

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """As `SqliteFile.read`, always at the same moment."""
        return await self._thread.run(function)


class SqliteFile:
    """`write` and `read` raise SqliteUnavailable, and whatever the function raises."""

    def __init__(self, path: Path, writer: _Thread | None, reader: _Thread, lock: int | None) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._lock = lock

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Opens the file for this process alone, and makes it if it is not there.

        Raises AlreadyServed, and SqliteUnavailable if it cannot be opened.
        """
        lock = await asyncio.to_thread(_lock, path)
        try:
            writing = await asyncio.to_thread(_connect_writer, path)
            reading = await asyncio.to_thread(_connect_reader, path)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, _Thread(writing, _commit_group, MAX_WAITING), _Thread(reading, _read_each, 1), lock)

    @classmethod
    async def open_read_only(cls, path: Path) -> Self:
        """Opens a file that may be served by another process. `write` raises SqliteUnavailable."""
        reading = await asyncio.to_thread(_connect_reader, path)
        return cls(path, None, _Thread(reading, _read_each, 1), None)

    @property
    def read_only(self) -> bool:
        return self._writer is None

    async def write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `function` on the writer's connection and returns its result when that is on disk.

        What it raises takes back what it wrote, and nothing else. It must not commit or roll back by itself. A
        cancelled call may take effect. Waits for room while too many others wait.
        """
        if self._writer is None:
            raise SqliteUnavailable(f"{self.path} is open read-only")
        return await self._writer.run(function)

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `function` on a connection of its own, where it sees what was committed at one moment."""
        return await self._reader.run(function)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Many reads as of one moment: that of the first. On a thread of its own, so nobody waits for it."""
        thread = _Thread(await asyncio.to_thread(_connect_reader, self.path), _read_on, 1)
        try:
            await thread.run(lambda connection: connection.execute("BEGIN"))
            yield Snapshot(thread)
        finally:
            await thread.close()

    async def close(self) -> None:
        """Writes what was called before, then lets go of the file. The writer closes last and so empties the log."""
        await self._reader.close()
        if self._writer is not None:
            await self._writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(path: Path) -> int:
    """Locks a file beside `path`. The lock ends with the process, however it ends; the file stays and says who."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SqliteUnavailable(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
        os.close(lock)
        raise AlreadyServed(path, int(holder) if holder.isdigit() else None) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _connect_writer(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log at every commit; NORMAL would lose answered orders with the power.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
    except sqlite3.Error as error:
        raise SqliteUnavailable(f"{path}: {error}") from error
    return connection


def _connect_reader(path: Path) -> sqlite3.Connection:
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        raise SqliteUnavailable(f"{path}: {error}") from error
    return connection


def _commit_group(connection: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Outcome]:
    """One transaction for all. If the transaction itself fails, each of them failed."""
    committing = False
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = [_under_savepoint(connection, job) for job in jobs]
        committing = True
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        # A commit that failed may be found in the log after a crash; before that nothing can have stayed.
        return [_Outcome(job, None, _translated(error, outcome_unknown=committing)) for job in jobs]
    return outcomes


def _under_savepoint(connection: sqlite3.Connection, job: _Job) -> _Outcome:
    """Raises sqlite3.Error only if the whole transaction is gone."""
    connection.execute("SAVEPOINT job")
    try:
        value = job.run(connection)
    except Exception as error:
        if not connection.in_transaction and isinstance(error, sqlite3.Error):
            raise  # a full disk or an I/O error makes SQLite take back the transaction, not only the statement
        connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")
        return _Outcome(job, None, _translated(error))
    connection.execute("RELEASE job")
    return _Outcome(job, value, None)


def _read_each(connection: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Outcome]:
    return [_read_one(connection, job) for job in jobs]


def _read_one(connection: sqlite3.Connection, job: _Job) -> _Outcome:
    try:
        connection.execute("BEGIN")
        try:
            return _Outcome(job, job.run(connection), None)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except Exception as error:  # noqa: BLE001 - it belongs to the caller, whatever it is
        return _Outcome(job, None, _translated(error))


def _read_on(connection: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Outcome]:
    """Without a transaction around each: the snapshot's own goes on."""
    outcomes: list[_Outcome] = []
    for job in jobs:
        try:
            outcomes.append(_Outcome(job, job.run(connection), None))
        except Exception as error:  # noqa: BLE001 - it belongs to the caller, whatever it is
            outcomes.append(_Outcome(job, None, _translated(error)))
    return outcomes


def _translated(error: Exception, *, outcome_unknown: bool = False) -> Exception:
    """By SQLite's primary code, the low byte. Errors of the binding itself have no code and are bugs."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF not in _UNAVAILABLE:
        return error
    return SqliteUnavailable(str(error), outcome_unknown=outcome_unknown)
