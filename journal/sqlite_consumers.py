"""What consumers keep in the SQLite file of a process that runs everything: how far they are, and dead letters.

In a cluster Kafka keeps both.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial

from journal.sqlite_rows import reaching
from sluice.sqlite_file import SqliteFile


class SqliteConsumers:
    """Every method raises JournalUnreachable. The journal must have been opened before on the same file."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def places(self, consumer: str) -> Mapping[str, tuple[int, int]]:
        """By topic: all up to this (number, place) is done."""
        query = "SELECT topic, number, place FROM consumer_places WHERE consumer = ?"
        rows = await reaching(self._file.read(lambda c: c.execute(query, (consumer,)).fetchall()))
        return {topic: (number, place) for topic, number, place in rows}

    async def note_places(self, consumer: str, places: Mapping[str, tuple[int, int]]) -> None:
        rows = [(consumer, topic, number, place) for topic, (number, place) in places.items()]
        query = "INSERT OR REPLACE INTO consumer_places VALUES (?, ?, ?, ?)"
        await reaching(self._file.write(lambda c: c.executemany(query, rows).close()))

    async def append_letters(self, consumer: str, topic: str, entries: Sequence[str]) -> Sequence[int]:
        """Returns the id of each; ids only rise."""
        return await reaching(self._file.write(partial(_append, consumer, topic, entries)))

    async def read_letters(self, consumer: str, topic: str, after: int, limit: int) -> Sequence[tuple[int, str]]:
        """The next entries above the id `after`, by id."""
        query = "SELECT id, entry FROM dead_letters WHERE consumer = ? AND topic = ? AND id > ? ORDER BY id LIMIT ?"
        return await reaching(self._file.read(lambda c: c.execute(query, (consumer, topic, after, limit)).fetchall()))

    async def logs(self) -> Sequence[tuple[str, str]]:
        """(topic, consumer) of every log of dead letters."""
        query = "SELECT DISTINCT topic, consumer FROM dead_letters ORDER BY 1, 2"
        return await reaching(self._file.read(lambda c: c.execute(query).fetchall()))


def _append(consumer: str, topic: str, entries: Sequence[str], connection: sqlite3.Connection) -> Sequence[int]:
    query = (
        "INSERT INTO dead_letters (consumer, topic, entry) SELECT ?, ?, value FROM json_each(?) WHERE true RETURNING id"
    )
    rows = connection.execute(query, (consumer, topic, json.dumps(list(entries)))).fetchall()
    return sorted(row[0] for row in rows)
