"""Schema versions: made once, by one of many; a newer database is refused; a broken step leaves nothing of itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from journal.migration import DatabaseTooNew, DatabaseTooOld, Migration, migrate_postgres, migrate_sqlite, migrations
from journal.postgres import PostgresJournal
from journal.protocol import Journal
from journal.sqlite import SqliteJournal
from sluice.sqlite_file import SqliteFile
from tests.journals import new_postgres_database

GOOD = Migration(1, "0001_good.sql", "CREATE TABLE good (n INTEGER);\nINSERT INTO good VALUES (1);\n")
BROKEN = Migration(2, "0002_broken.sql", "INSERT INTO good VALUES (2);\nINSERT INTO missing VALUES (1);\n")


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[str]:
    async with new_postgres_database(postgres_url) as url:
        yield url


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteFile]:
    file = await SqliteFile.open(tmp_path / "journal.db")
    yield file
    await file.close()


def test_both_databases_know_the_same_versions() -> None:
    postgres, sqlite = ([m.version for m in migrations(name)] for name in ("postgres", "sqlite"))
    assert postgres == sqlite


@pytest.mark.servers
async def test_many_first_starts_at_once_make_one_journal(postgres: str) -> None:
    journals = await asyncio.gather(*(PostgresJournal.open(postgres, timeout_s=30) for _ in range(4)))
    again = await PostgresJournal.open(postgres, timeout_s=30)
    assert len({journal.journal_id for journal in (*journals, again)}) == 1
    for journal in (*journals, again):
        await journal.close()


async def test_a_reopened_file_is_the_same_journal(file: SqliteFile) -> None:
    first = await SqliteJournal.open(file)
    assert (await SqliteJournal.open(file)).journal_id == first.journal_id


@pytest.mark.servers
async def test_a_newer_postgres_database_is_refused(postgres: str) -> None:
    await (await PostgresJournal.open(postgres, timeout_s=30)).close()
    connection = await asyncpg.connect(postgres)
    await connection.execute("INSERT INTO journal_migrations (version, name) VALUES (99, 'from the future')")
    await connection.close()
    with pytest.raises(DatabaseTooNew) as raised:
        await PostgresJournal.open(postgres, timeout_s=30)
    assert raised.value.database_version == 99


async def test_a_newer_file_is_refused(file: SqliteFile) -> None:
    await SqliteJournal.open(file)
    await file.write(lambda c: c.execute("INSERT INTO journal_migrations VALUES (99, 'from the future')").close())
    with pytest.raises(DatabaseTooNew):
        await SqliteJournal.open(file)


async def test_a_file_without_a_journal_cannot_be_opened_read_only(file: SqliteFile) -> None:
    await file.write(lambda c: c.execute("CREATE TABLE something_else (n INTEGER)").close())
    beside = await SqliteFile.open_read_only(file.path)
    with pytest.raises(DatabaseTooOld):
        await SqliteJournal.open(beside)
    await beside.close()


@pytest.mark.servers
async def test_a_broken_step_leaves_postgres_at_the_step_before(postgres: str) -> None:
    connection: Any = await asyncpg.connect(postgres)
    for _ in range(2):
        with pytest.raises(asyncpg.UndefinedTableError):
            await migrate_postgres(connection, [GOOD, BROKEN])
        assert await connection.fetchval("SELECT array_agg(n) FROM good") == [1]
        assert await connection.fetchval("SELECT array_agg(version) FROM journal_migrations") == [1]
    await connection.close()


async def test_a_broken_step_leaves_a_file_at_the_step_before(file: SqliteFile) -> None:
    for _ in range(2):
        with pytest.raises(Exception, match="no such table"):
            await migrate_sqlite(file, [GOOD, BROKEN])
        assert await file.read(lambda c: c.execute("SELECT n FROM good").fetchall()) == [(1,)]
        assert await file.read(lambda c: c.execute("SELECT version FROM journal_migrations").fetchall()) == [(1,)]


@pytest.mark.servers
async def test_a_role_that_may_not_create_tables_can_use_a_finished_database(postgres: str) -> None:
    owner = await PostgresJournal.open(postgres, timeout_s=30)
    connection = await asyncpg.connect(postgres)
    name = f"user_of_{await connection.fetchval('SELECT current_database()')}"
    await connection.execute(
        f"CREATE ROLE {name} LOGIN;GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name};"
    )
    try:
        user = await PostgresJournal.open(postgres.replace("//sluice@", f"//{name}@"), timeout_s=30)
        assert user.journal_id == owner.journal_id
        await user.close()
    finally:
        await owner.close()
        await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
        await connection.close()


FENCED, UNFENCED = UUID(int=1), UUID(int=2)


@pytest.mark.servers
async def test_postgres_incarnations_of_before_heartbeats_are_folded_if_fenced_and_never_silent(postgres: str) -> None:
    connection: Any = await asyncpg.connect(postgres)
    await migrate_postgres(connection, migrations("postgres")[:1])
    await connection.execute(
        "INSERT INTO incarnations VALUES ($1, 'old-0', now(), true), ($2, 'old-1', now(), false)", FENCED, UNFENCED
    )
    await connection.close()
    journal = await PostgresJournal.open(postgres, timeout_s=30)
    await check_upgraded(journal)
    await journal.close()


async def test_incarnations_of_a_file_of_before_heartbeats_are_folded_if_fenced_and_never_silent(
    file: SqliteFile,
) -> None:
    await migrate_sqlite(file, migrations("sqlite")[:1])
    rows = f"('{FENCED}', 'old-0', 0, 1), ('{UNFENCED}', 'old-1', 0, 0)"
    await file.write(lambda c: c.execute(f"INSERT INTO incarnations VALUES {rows}").close())
    await check_upgraded(await SqliteJournal.open(file))


ORDER_ID = "0d4c7a10-6a39-4c3e-9d2f-7f2f9a1b2c3d"


@pytest.mark.servers
async def test_postgres_orders_of_before_priorities_have_the_lowest(postgres: str) -> None:
    connection: Any = await asyncpg.connect(postgres)
    await migrate_postgres(connection, migrations("postgres")[:6])
    await connection.execute(
        f"INSERT INTO orders VALUES ('{ORDER_ID}', 'anna', '[[\"tea\", 1]]', 2, 1, now(), now(), NULL, '')"
    )
    await connection.close()
    journal = await PostgresJournal.open(postgres, timeout_s=30)
    assert (await journal.find_orders([ORDER_ID]))[ORDER_ID].priority == 0
    await journal.close()


async def test_orders_of_a_file_of_before_priorities_have_the_lowest(file: SqliteFile) -> None:
    await migrate_sqlite(file, migrations("sqlite")[:6])
    row = f"INSERT INTO orders VALUES ('{ORDER_ID}', 'anna', '[[\"tea\", 1]]', 2, 1, 0, 0, NULL, '')"
    await file.write(lambda c: c.execute(row).close())
    assert (await (await SqliteJournal.open(file)).find_orders([ORDER_ID]))[ORDER_ID].priority == 0


async def check_upgraded(journal: Journal) -> None:
    assert await journal.silent(0.0) == []
    assert [await journal.claim_reclaim(60.0) for _ in range(2)] == [FENCED, None]
