"""What must wait for what in PostgreSQL, shown with a transaction that is held open."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from journal.postgres import PostgresJournal
from journal.protocol import Committed, IncarnationsFenced
from tests.journals import NOW, new_order, new_postgres_database, registered, sale
from tests.sessions import HOLD_ORDER, someone_holds, until_waiting

pytestmark = pytest.mark.servers


@pytest.fixture
async def journal(postgres_url: str) -> AsyncIterator[PostgresJournal]:
    async with new_postgres_database(postgres_url) as url:
        journal = await PostgresJournal.open(url, timeout_s=30)
        yield journal
        await journal.close()


@pytest.fixture
async def observer(journal: PostgresJournal) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(journal._url)
    yield connection
    await connection.close()


async def test_a_fence_waits_for_a_commit_in_flight(journal: PostgresJournal, observer: asyncpg.Connection) -> None:
    incarnation = await registered(journal)
    held = new_order()
    async with someone_holds(journal._url, HOLD_ORDER, held.order_id):
        commit = asyncio.ensure_future(journal.commit(sale(incarnation, 1, [held])))
        await until_waiting(observer, 1)
        fence = asyncio.ensure_future(journal.fence(incarnation))
        await until_waiting(observer, 2)
        assert not fence.done()
    assert await commit == Committed()
    await fence
    assert await journal.spent(incarnation) == {"tea": 1}


async def test_a_row_that_becomes_visible_late_is_numbered_and_not_skipped(journal: PostgresJournal) -> None:
    incarnation = await registered(journal)
    connection = await asyncpg.connect(journal._url)
    async with journal.lease_outbox() as lease:
        assert lease is not None
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO outbox (create_time, event_count, events) VALUES ($1, 1, 'late')", NOW
            )
            await journal.commit(sale(incarnation, 1, [new_order()]))
            assert await lease.number_new() == 1
            assert [row.number for row in await lease.read(0, 10)] == [1]
            waiting = await journal.backlog()
            assert (waiting.rows, waiting.events, waiting.oldest) == (1, 1, NOW)
        assert await lease.number_new() == 1
        assert [(row.number, row.events) for row in await lease.read(1, 10)] == [(2, b"late")]
        assert await lease.number_new() == 0
    await connection.close()


async def test_a_scan_shows_rows_without_a_number_last(journal: PostgresJournal) -> None:
    incarnation = await registered(journal)
    for seq in (1, 2):
        await journal.commit(sale(incarnation, seq, [new_order()]))
        if seq == 1:
            async with journal.lease_outbox() as lease:
                assert lease is not None
                await lease.number_new()
    assert [row.number async for page in journal.scan_outbox() for row in page] == [1, 0]


async def test_two_journals_share_one_lease(journal: PostgresJournal) -> None:
    other = await PostgresJournal.open(journal._url)
    async with journal.lease_outbox() as lease:
        assert lease is not None
        async with other.lease_outbox() as standby:
            assert standby is None
    async with other.lease_outbox() as taken_over:
        assert taken_over is not None
    await other.close()


async def test_a_start_waits_for_another_start_of_its_name_and_fences_it(
    journal: PostgresJournal, observer: asyncpg.Connection
) -> None:
    first, second = uuid4(), uuid4()
    connection = await asyncpg.connect(journal._url)
    async with connection.transaction():
        await connection.execute("SELECT register_incarnation('stockd-0', $1, $2)", first, NOW)
        starting = asyncio.ensure_future(journal.register("stockd-0", second, NOW))
        await until_waiting(observer, 1)
    assert await starting == [first]
    await connection.close()


async def test_closing_a_reservation_waits_for_its_commit_in_flight(
    journal: PostgresJournal, observer: asyncpg.Connection
) -> None:
    incarnation = await registered(journal)
    connection = await asyncpg.connect(journal._url)
    async with connection.transaction():
        await connection.execute("INSERT INTO spends VALUES ($1, 1, '{tea}', '{3}', now())", incarnation)
        closing = asyncio.ensure_future(journal.close_reservations(incarnation, [1, 2], NOW))
        await until_waiting(observer, 1)
    assert await closing == {1: {"tea": 3}, 2: {}}
    await connection.close()


async def test_a_commit_waits_for_a_fence_and_then_sells_nothing(
    journal: PostgresJournal, observer: asyncpg.Connection
) -> None:
    incarnation = await registered(journal)
    connection = await asyncpg.connect(journal._url)
    async with connection.transaction():
        await connection.execute("UPDATE incarnations SET fenced = true")
        commit = asyncio.ensure_future(journal.commit(sale(incarnation, 1, [new_order()])))
        await until_waiting(observer, 1)
    assert await commit == IncarnationsFenced(frozenset({incarnation}))
    await connection.close()
