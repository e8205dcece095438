"""The slot maps in the SQLite file of a process that runs everything."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

from journal.slot_map_rows import COLUMNS, IN_FORCE, read_slot_map
from journal.slot_maps import AnotherMoveUnderWay
from journal.sqlite_rows import CLOCK, reaching
from sluice.slot_map import Seats, SlotMap, first_seats, pack, unpack
from sluice.sqlite_file import SqliteFile

_HISTORY = f"SELECT {COLUMNS} FROM slot_maps WHERE topic = ? ORDER BY epoch"  # noqa: S608 - a constant


class SqliteSlotMaps:
    """See `journal.slot_maps.SlotMaps`. The journal must have been opened before on the same file."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def begin(self, partitions: Mapping[str, int]) -> None:
        rows = [(topic, pack(first_seats(count))) for topic, count in partitions.items()]
        statement = "INSERT INTO slot_maps VALUES (?, 0, 0, ?, '{}') ON CONFLICT DO NOTHING"
        await reaching(self._file.write(lambda c: c.executemany(statement, rows).close()))

    async def in_force(self) -> Mapping[str, SlotMap]:
        rows = await reaching(self._file.read(lambda c: c.execute(IN_FORCE).fetchall()))
        return {slot_map.topic: slot_map for slot_map in map(read_slot_map, rows)}

    async def history(self, topic: str) -> Sequence[SlotMap]:
        rows = await reaching(self._file.read(lambda c: c.execute(_HISTORY, (topic,)).fetchall()))
        return [read_slot_map(row) for row in rows]

    async def plan(self, topic: str, seats: Seats) -> None:
        planned = unpack(await reaching(self._file.write(partial(_plan, topic, pack(seats)))))
        if planned != seats:
            raise AnotherMoveUnderWay(topic, planned)

    async def planned(self) -> Mapping[str, Seats]:
        query = "SELECT topic, seats FROM slot_moves ORDER BY topic"
        rows = await reaching(self._file.read(lambda c: c.execute(query).fetchall()))
        return {topic: unpack(seats) for topic, seats in rows}

    async def abort(self, topic: str) -> bool:
        return await reaching(self._file.write(partial(_abort, topic)))

    async def pause_numbering(self, limit_s: float) -> int:
        return await reaching(self._file.write(partial(_pause, limit_s)))

    async def resume_numbering(self) -> None:
        await reaching(self._file.write(_resume))

    async def newest_row(self) -> int:
        query = "SELECT coalesce(max(number), 0) FROM outbox"
        newest: int = await reaching(self._file.read(lambda c: c.execute(query).fetchone()[0]))
        return newest

    async def unfinished_rows(self, newest: int) -> int:
        """Rows have their number from the start."""
        return await self.unfinished(newest)

    async def unfinished(self, last_number: int) -> int:
        query = "SELECT count(*) FROM outbox WHERE number <= ?"
        rows: int = await reaching(self._file.read(lambda c: c.execute(query, (last_number,)).fetchone()[0]))
        return rows

    async def switch(self, topic: str, last_number: int, left_at: Mapping[int, int]) -> bool:
        return await reaching(self._file.write(partial(_switch, topic, last_number, json.dumps(left_at))))


def _plan(topic: str, seats: bytes, connection: sqlite3.Connection) -> bytes:
    connection.execute("INSERT INTO slot_moves VALUES (?, ?) ON CONFLICT DO NOTHING", (topic, seats)).close()
    planned: bytes = connection.execute("SELECT seats FROM slot_moves WHERE topic = ?", (topic,)).fetchone()[0]
    return planned


def _abort(topic: str, connection: sqlite3.Connection) -> bool:
    _resume(connection)
    return connection.execute("DELETE FROM slot_moves WHERE topic = ?", (topic,)).rowcount > 0


def _pause(limit_s: float, connection: sqlite3.Connection) -> int:
    statement = f"UPDATE outbox_lent SET paused_until = {CLOCK} + ? RETURNING through"  # noqa: S608 - a constant
    through: int = connection.execute(statement, (round(limit_s * 1_000_000),)).fetchall()[0][0]
    return through


def _resume(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE outbox_lent SET paused_until = 0").close()


def _switch(topic: str, last_number: int, left_at: str, connection: sqlite3.Connection) -> bool:
    lent = connection.execute("SELECT through FROM outbox_lent").fetchone()[0]
    waiting = connection.execute("SELECT EXISTS (SELECT 1 FROM outbox WHERE number <= ?)", (last_number,)).fetchone()[0]
    move = connection.execute("SELECT seats FROM slot_moves WHERE topic = ?", (topic,)).fetchone()
    if lent != last_number or waiting or move is None:
        return False
    connection.execute(
        "INSERT INTO slot_maps SELECT topic, max(epoch) + 1, ?, ?, ? FROM slot_maps WHERE topic = ? GROUP BY topic",
        (last_number + 1, move[0], left_at, topic),
    ).close()
    connection.execute("DELETE FROM slot_moves WHERE topic = ?", (topic,)).close()
    _resume(connection)
    return True
