"""One SQLite file: group commit under savepoints, readers beside it, one process at a time."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sluice.sqlite_file import AlreadyServed, SqliteFile, SqliteUnavailable


def insert(value: int) -> Callable[[sqlite3.Connection], int]:
    def run(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (value,))
        return value

    return run


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")]


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    file = await SqliteFile.open(tmp_path / "data" / "sluice.db")
    await file.write(lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").close())
    yield file
    await file.close()


class Gate:
    """Holds the writer until `open`, so that the calls made meanwhile become one group."""

    def __init__(self, file: SqliteFile) -> None:
        self._opened = threading.Event()
        self._entered = threading.Event()
        self._task = asyncio.ensure_future(file.write(self._wait))

    def _wait(self, _: sqlite3.Connection) -> None:
        self._entered.set()
        self._opened.wait(30)

    async def closed(self) -> None:
        await asyncio.to_thread(self._entered.wait, 30)

    async def open(self) -> None:
        self._opened.set()
        await self._task


async def test_writes_that_wait_together_share_one_commit(file: SqliteFile) -> None:
    gate = Gate(file)
    await gate.closed()
    begun: list[str] = []
    file._writer._connection.set_trace_callback(begun.append)
    writes = [asyncio.ensure_future(file.write(insert(n))) for n in range(50)]
    await asyncio.sleep(0)
    await gate.open()
    assert await asyncio.gather(*writes) == list(range(50))
    assert [statement for statement in begun if statement.startswith("COMMIT")] == ["COMMIT"] * 2
    assert await file.read(numbers) == list(range(50))


async def test_a_failing_write_takes_back_only_itself(file: SqliteFile) -> None:
    def insert_two_and_fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (100), (101)")
        raise ZeroDivisionError

    gate = Gate(file)
    await gate.closed()
    writes = [
        asyncio.ensure_future(write)
        for write in (
            file.write(insert(1)),
            file.write(insert_two_and_fail),
            file.write(insert(1)),
            file.write(insert(2)),
        )
    ]
    await asyncio.sleep(0)
    await gate.open()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert results[0] == 1
    assert isinstance(results[1], ZeroDivisionError)
    assert isinstance(results[2], sqlite3.IntegrityError)
    assert results[3] == 2
    assert await file.read(numbers) == [1, 2]


async def test_a_cancelled_caller_does_not_disturb_its_group(file: SqliteFile) -> None:
    gate = Gate(file)
    await gate.closed()
    cancelled, kept = (asyncio.ensure_future(file.write(insert(n))) for n in (1, 2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await gate.open()
    assert await kept == 2
    assert cancelled.cancelled()
    assert 2 in await file.read(numbers)


async def test_reads_do_not_wait_for_writes(file: SqliteFile) -> None:
    gate = Gate(file)
    await gate.closed()
    assert await asyncio.wait_for(file.read(numbers), 5) == []
    await gate.open()


async def test_a_read_cannot_write(file: SqliteFile) -> None:
    with pytest.raises(SqliteUnavailable):
        await file.read(insert(1))


async def test_a_snapshot_stays_at_its_moment(file: SqliteFile) -> None:
    await file.write(insert(1))
    async with file.snapshot() as snapshot:
        assert await snapshot.read(numbers) == [1]
        await file.write(insert(2))
        assert await snapshot.read(numbers) == [1]
    assert await file.read(numbers) == [1, 2]


async def test_more_writers_than_room_all_get_their_turn(file: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file._writer._room = asyncio.Semaphore(3)
    assert await asyncio.gather(*(file.write(insert(n)) for n in range(40))) == list(range(40))


async def test_close_finishes_what_was_called_and_refuses_what_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "sluice.db"
    file = await SqliteFile.open(path)
    await file.write(lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").close())
    writes = [asyncio.ensure_future(file.write(insert(n))) for n in range(10)]
    await asyncio.sleep(0)
    await file.close()
    assert await asyncio.gather(*writes) == list(range(10))
    with pytest.raises(SqliteUnavailable):
        await file.write(insert(11))
    again = await SqliteFile.open(path)
    assert await again.read(numbers) == list(range(10))
    await again.close()


async def test_a_second_process_is_told_who_serves_the_file(file: SqliteFile) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from sluice.sqlite_file import AlreadyServed, SqliteFile\n"
        "try:\n"
        "    asyncio.run(SqliteFile.open(pathlib.Path(sys.argv[1])))\n"
        "except AlreadyServed as error:\n"
        "    print(error.pid)\n"
    )
    told = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(file.path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == str(os.getpid())


async def test_the_same_process_cannot_open_it_twice(file: SqliteFile) -> None:
    with pytest.raises(AlreadyServed):
        await SqliteFile.open(file.path)


async def test_a_read_only_opener_sees_the_served_file_and_the_stopped_one(tmp_path: Path) -> None:
    served = await SqliteFile.open(tmp_path / "sluice.db")
    await served.write(lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").close())
    await served.write(insert(1))
    beside = await SqliteFile.open_read_only(served.path)
    assert await beside.read(numbers) == [1]
    await served.write(insert(2))
    assert await beside.read(numbers) == [1, 2]
    with pytest.raises(SqliteUnavailable):
        await beside.write(insert(3))
    await beside.close()
    await served.close()
    after = await SqliteFile.open_read_only(served.path)
    assert await after.read(numbers) == [1, 2]
    await after.close()


async def test_a_missing_file_cannot_be_opened_read_only(tmp_path: Path) -> None:
    with pytest.raises(SqliteUnavailable):
        await SqliteFile.open_read_only(tmp_path / "sluice.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_fails_the_group_and_heals(file: SqliteFile) -> None:
    """The file size limit of the process plays the full disk: it makes the log's writes fail."""

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE bulk AS SELECT zeroblob(4000000) AS bytes")

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        results = await asyncio.gather(
            file.write(insert(1)), file.write(fill), file.write(insert(2)), return_exceptions=True
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(results[1], SqliteUnavailable)
    told = [n for n, result in ((1, results[0]), (2, results[2])) if result == n]
    assert await file.read(numbers) == told
    await file.write(insert(3))
    assert 3 in await file.read(numbers)
