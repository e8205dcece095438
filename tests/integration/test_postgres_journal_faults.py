"""PostgreSQL killed, frozen or cut off: an answer in bounded time, a typed error, and recovery without a restart."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from deploy.local.ports import free_port
from deploy.local.processes import Process
from journal.postgres import PostgresJournal
from journal.protocol import Batch, Committed, Journal, OrdersExist
from sluice.errors import JournalUnreachable
from tests.journals import new_order, new_postgres_database, registered, sale
from tests.servers import make_postgres, running, server_directory
from tests.sessions import HOLD_ORDER, someone_holds, until_waiting

pytestmark = pytest.mark.servers

LIMIT_S = 1.0
SLACK_S = 1.0
"""A test machine may be busy. Callers of the gateway are promised 2 s in all."""

RECOVERY_LIMIT_S = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Process, str]]:
    with server_directory() as directory:
        process, url = make_postgres(directory)
        with running(process):
            yield process, url


@pytest.fixture
async def journal(server: tuple[Process, str]) -> AsyncIterator[PostgresJournal]:
    async with new_postgres_database(server[1]) as url:
        journal = await PostgresJournal.open(url, timeout_s=30)
        await journal.close()
        journal = await PostgresJournal.open(url, timeout_s=LIMIT_S)
        yield journal
        await journal.close()


async def unreachable_in_time(call: Awaitable[Any]) -> JournalUnreachable:
    began = time.monotonic()
    with pytest.raises(JournalUnreachable) as raised:
        await call
    assert time.monotonic() - began < LIMIT_S + SLACK_S
    return raised.value


async def until_it_answers(journal: Journal) -> None:
    async with asyncio.timeout(RECOVERY_LIMIT_S):
        while True:
            try:
                await journal.ping()
            except JournalUnreachable:
                await asyncio.sleep(0.05)
            else:
                return


async def until_decided(journal: Journal, batch: Batch) -> None:
    """Commits again until the answer is known, as a gateway does."""
    async with asyncio.timeout(RECOVERY_LIMIT_S):
        while True:
            try:
                assert isinstance(await journal.commit(batch), (Committed, OrdersExist))
            except JournalUnreachable:
                await asyncio.sleep(0.05)
            else:
                return


@asynccontextmanager
async def frozen(process: Process) -> AsyncIterator[None]:
    process.stop()
    try:
        yield
    finally:
        process.cont()


@pytest.fixture
async def observer(journal: PostgresJournal) -> AsyncIterator[asyncpg.Connection]:
    """A session of its own that looks at the others; outside of a transaction, where it would see them as they were."""
    connection = await asyncpg.connect(journal._url)
    yield connection
    await connection.close()


async def test_killed_and_restarted(server: tuple[Process, str], journal: PostgresJournal) -> None:
    process, _ = server
    incarnation = await registered(journal)
    before, after = new_order(), new_order()
    assert await journal.commit(sale(incarnation, 1, [before])) == Committed()
    process.kill()
    try:
        for call in (
            journal.commit(sale(incarnation, 2, [after])),
            journal.find_orders([before.order_id]),
            journal.fence(incarnation),
            journal.ping(),
        ):
            await unreachable_in_time(call)
    finally:
        process.start()
    await until_it_answers(journal)
    assert set(await journal.find_orders([before.order_id, after.order_id])) == {before.order_id}
    assert await journal.commit(sale(incarnation, 2, [after])) == Committed()


async def test_killed_in_a_burst_everything_is_decided_once(
    server: tuple[Process, str], journal: PostgresJournal
) -> None:
    process, _ = server
    incarnation = await registered(journal)
    batches = [sale(incarnation, seq, [new_order() for _ in range(20)]) for seq in range(1, 201)]
    answered: list[Batch] = []
    some_answered = asyncio.Event()
    todo = iter(batches)

    async def sell() -> None:
        for batch in todo:
            try:
                assert await journal.commit(batch) == Committed()
            except JournalUnreachable:
                return
            answered.append(batch)
            if len(answered) == 15:
                some_answered.set()

    selling = [asyncio.ensure_future(sell()) for _ in range(3)]
    await some_answered.wait()
    process.kill()
    try:
        await asyncio.gather(*selling)
    finally:
        process.start()
    await until_it_answers(journal)
    assert len(answered) < len(batches)
    standing = await journal.find_orders([order.order_id for batch in answered for order in batch.orders])
    assert len(standing) == 20 * len(answered)
    for batch in batches:
        await until_decided(journal, batch)
    assert await journal.all_spends() == {incarnation: {"tea": 20 * len(batches)}}
    assert (await journal.backlog()).rows == len(batches)


async def test_frozen_and_released(server: tuple[Process, str], journal: PostgresJournal) -> None:
    process, _ = server
    incarnation = await registered(journal)
    for seq in (1, 2, 3):  # opens connections
        await journal.commit(sale(incarnation, seq, [new_order()]))
    batch = sale(incarnation, 4, [new_order()])
    async with frozen(process):
        assert (await unreachable_in_time(journal.commit(batch))).outcome_unknown
        # This one has to open a connection first, and does not get that far.
        assert not (await unreachable_in_time(journal.commit(batch))).outcome_unknown
        await unreachable_in_time(journal.ping())
        await unreachable_in_time(journal.ping())
        # More calls than connections wait their turn no longer than the limit.
        errors = await asyncio.gather(*(unreachable_in_time(journal.commit(batch)) for _ in range(9)))
        assert not any(error.outcome_unknown for error in errors)
        await unreachable_in_time(PostgresJournal.open(journal._url, timeout_s=LIMIT_S))
    await until_decided(journal, batch)
    assert await journal.spent(incarnation) == {"tea": 4}


async def test_nobody_listens() -> None:
    url = f"postgresql://sluice@127.0.0.1:{free_port()}/sluice"
    error = await unreachable_in_time(PostgresJournal.open(url, timeout_s=LIMIT_S))
    assert not error.outcome_unknown


async def test_a_commit_that_waits_too_long_is_given_up_by_both_sides(
    journal: PostgresJournal, observer: asyncpg.Connection
) -> None:
    incarnation = await registered(journal)
    order = new_order()
    async with someone_holds(journal._url, HOLD_ORDER, order.order_id):
        await unreachable_in_time(journal.commit(sale(incarnation, 1, [order])))
        async with asyncio.timeout(RECOVERY_LIMIT_S):  # a statement that its caller left does not go on waiting
            while await observer.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND state = 'active' AND query LIKE '%commit_batch%' AND pid <> pg_backend_pid()"
            ):
                pass
    assert await journal.commit(sale(incarnation, 1, [order])) == Committed()


async def test_slow_reads_do_not_delay_a_commit(journal: PostgresJournal) -> None:
    incarnation = await registered(journal)
    async with someone_holds(journal._url, "LOCK TABLE spend_totals IN ACCESS EXCLUSIVE MODE"):
        reads = [asyncio.ensure_future(unreachable_in_time(journal.sold(["tea"]))) for _ in range(5)]
        await asyncio.sleep(0)
        assert await journal.commit(sale(incarnation, 1, [new_order()])) == Committed()
        assert not any(read.done() for read in reads)
        await asyncio.gather(*reads)
    await until_it_answers(journal)


async def test_a_cancelled_caller_leaves_a_working_journal(
    journal: PostgresJournal, observer: asyncpg.Connection
) -> None:
    incarnation = await registered(journal)
    order = new_order()
    async with someone_holds(journal._url, HOLD_ORDER, order.order_id):
        waiting = [asyncio.ensure_future(journal.commit(sale(incarnation, seq, [order]))) for seq in (1, 2, 3)]
        await until_waiting(observer, 3)
        for call in waiting:
            call.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert all(call.cancelled() for call in waiting)
    await until_decided(journal, sale(incarnation, 4, [order]))


async def test_a_bug_is_not_called_unreachable(journal: PostgresJournal) -> None:
    incarnation = await registered(journal)
    connection = await asyncpg.connect(journal._url)
    await connection.execute("ALTER TABLE outbox RENAME TO elsewhere")
    await connection.close()
    with pytest.raises(asyncpg.UndefinedTableError):
        await journal.commit(sale(incarnation, 1, [new_order()]))


async def lease_sessions(connection: asyncpg.Connection) -> list[int]:
    rows = await connection.fetch(
        "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )
    return [row[0] for row in rows]


async def test_a_lost_session_is_a_lost_lease(journal: PostgresJournal, observer: asyncpg.Connection) -> None:
    async with journal.lease_outbox() as lease:
        assert lease is not None
        [session] = await lease_sessions(observer)
        await observer.execute("SELECT pg_terminate_backend($1)", session)
        for call in (lease.number_new(), lease.read(0, 1), lease.delete([1])):
            await unreachable_in_time(call)
        async with journal.lease_outbox() as successor:
            assert successor is not None
            await unreachable_in_time(lease.number_new())
            assert await successor.number_new() == 0


async def test_a_frozen_server_loses_the_lease_in_time(server: tuple[Process, str], journal: PostgresJournal) -> None:
    process, _ = server
    async with journal.lease_outbox() as lease:
        assert lease is not None
        async with frozen(process):
            await unreachable_in_time(lease.number_new())
        await unreachable_in_time(lease.number_new())


async def test_an_interrupted_open_leaves_nothing_behind(journal: PostgresJournal) -> None:
    """A caller who gives up while opening does not keep a session."""
    opening = asyncio.ensure_future(PostgresJournal.open(journal._url))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert isinstance(journal.journal_id, UUID)
    await journal.ping()
