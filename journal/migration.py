"""Schema versions: numbered SQL files, each applied once, in one transaction, at start.

A database that is newer than the code is refused: old code must not write what it does not understand.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.resources import files
from typing import NamedTuple

import asyncpg

from sluice.sqlite_file import SqliteFile

_LOCK = "hashtextextended('sluice journal migration', 0)"


class Migration(NamedTuple):
    version: int
    name: str
    sql: str


class DatabaseTooNew(Exception):
    """A newer release has migrated the database; this one must not use it."""

    def __init__(self, database_version: int, code_version: int) -> None:
        super().__init__(
            f"the journal database has schema version {database_version}, this release knows {code_version}: upgrade it"
        )
        self.database_version = database_version
        self.code_version = code_version


class DatabaseTooOld(Exception):
    """The database may only be read, and must be migrated before that."""

    def __init__(self, database_version: int, code_version: int) -> None:
        super().__init__(
            f"the journal database has schema version {database_version}, this release needs {code_version}: "
            "start the server that owns it once"
        )
        self.database_version = database_version
        self.code_version = code_version


def migrations(database: str) -> Sequence[Migration]:
    """The files for `postgres` or `sqlite`, by version: 1, 2, 3, ..."""
    found = [
        Migration(int(file.name.partition("_")[0]), file.name, file.read_text(encoding="utf-8"))
        for file in files("journal").joinpath("migrations", database).iterdir()
        if file.name.endswith(".sql")
    ]
    found.sort()
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise AssertionError(f"the versions of {database}'s migrations have a gap: {[m.name for m in found]}")
    return found


async def migrate_postgres(connection: asyncpg.Connection, known: Sequence[Migration]) -> None:
    """Applies what is missing; of several processes that start at once one does, the others wait for it."""
    while True:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            version = await _postgres_version(connection)
            missing = _missing(version, known)
            if not missing:
                return
            if version == 0:
                await connection.execute(
                    "CREATE TABLE IF NOT EXISTS journal_migrations"
                    " (version integer PRIMARY KEY, name text NOT NULL, time timestamptz NOT NULL DEFAULT now())"
                )
            await connection.execute(missing[0].sql)
            await connection.execute(
                "INSERT INTO journal_migrations (version, name) VALUES ($1, $2)", missing[0].version, missing[0].name
            )


async def _postgres_version(connection: asyncpg.Connection) -> int:
    # Asked first, because a role without the right to create tables may use a database that is up to date.
    if await connection.fetchval("SELECT to_regclass('journal_migrations') IS NULL"):
        return 0
    version: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM journal_migrations")
    return version


async def migrate_sqlite(file: SqliteFile, known: Sequence[Migration]) -> None:
    """Applies what is missing. A file that is open read-only is only looked at: DatabaseTooOld if it lacks some."""
    while missing := _missing(version := await file.read(_sqlite_version), known):
        if file.read_only:
            raise DatabaseTooOld(version, known[-1].version)
        await file.write(partial(_apply_sqlite, missing[0]))


def _apply_sqlite(migration: Migration, connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS journal_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT"
    )
    for statement in _statements(migration.sql):
        connection.execute(statement)
    connection.execute("INSERT INTO journal_migrations VALUES (?, ?)", (migration.version, migration.name))


def _sqlite_version(connection: sqlite3.Connection) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'journal_migrations'").fetchone():
        return 0
    version: int = connection.execute("SELECT coalesce(max(version), 0) FROM journal_migrations").fetchone()[0]
    return version


def _missing(version: int, known: Sequence[Migration]) -> Sequence[Migration]:
    if version > known[-1].version:
        raise DatabaseTooNew(version, known[-1].version)
    return [migration for migration in known if migration.version > version]


def _statements(sql: str) -> Iterator[str]:
    """One by one: sqlite3's executescript would commit the transaction that it is called in."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
