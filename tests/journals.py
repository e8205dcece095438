"""Journals for tests, each on a database of its own, and the batches that tests commit to them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg

from journal.postgres import PostgresJournal
from journal.protocol import Batch, Journal, Spend
from journal.sqlite import SqliteJournal
from sluice.model import Line, NewOrder, units_by_sku
from sluice.sqlite_file import SqliteFile

NOW = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)


@asynccontextmanager
async def new_postgres_database(server_url: str) -> AsyncIterator[str]:
    """The URL of a database that nobody else uses."""
    name = f"journal_{uuid4().hex}"
    await _execute(server_url, f"CREATE DATABASE {name}")
    yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)  # a new one each time: tests kill the server in between
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def new_postgres_journal(server_url: str) -> AsyncIterator[Journal]:
    async with new_postgres_database(server_url) as url:
        # A busy machine may be slow; what a test asserts about time it sets by itself.
        journal = await PostgresJournal.open(url, timeout_s=30)
        yield journal
        await journal.close()


@asynccontextmanager
async def new_sqlite_journal(directory: Path) -> AsyncIterator[Journal]:
    file = await SqliteFile.open(directory / "journal.db")
    yield await SqliteJournal.open(file)
    await file.close()


def new_order(
    lines: Mapping[str, int] | None = None, *, customer_id: str = "customer-1", order_id: str | None = None
) -> NewOrder:
    lines = {"tea": 1} if lines is None else lines
    return NewOrder(order_id or str(uuid4()), customer_id, tuple(Line(sku, lines[sku]) for sku in sorted(lines)))


def sale(incarnation: UUID, seq: int, orders: Sequence[NewOrder]) -> Batch:
    """A batch that sells the orders' lines out of one reservation."""
    events = b"".join(order.order_id.encode() for order in orders)
    return Batch(orders, [Spend(incarnation, seq, units_by_sku(orders))], events, len(orders), NOW)


async def registered(journal: Journal, name: str = "stockd-0") -> UUID:
    incarnation = uuid4()
    await journal.register(name, incarnation, NOW)
    return incarnation
