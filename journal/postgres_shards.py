"""Opens the journals of a cluster, and what is kept beside them: one PostgreSQL database, or several."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from journal.all_journals import whole
from journal.all_tallies import AllTallies
from journal.postgres import PostgresJournal
from journal.postgres_place import ShardPlace
from journal.postgres_tallies import PostgresTallies
from journal.protocol import Journals
from journal.tallies import Tallies


async def open_journals(
    urls: Sequence[str], *, connections: int = 3, timeout_s: float = 1.5
) -> Sequence[PostgresJournal]:
    """By number. All or none; raises what `PostgresJournal.open` raises."""
    async with AsyncExitStack() as opened:
        journals: list[PostgresJournal] = []
        for number, url in enumerate(urls):
            place = ShardPlace(number, len(urls), journals[0].journal_id if journals else None)
            journal = await PostgresJournal.open(url, connections=connections, timeout_s=timeout_s, place=place)
            opened.push_async_callback(journal.close)
            journals.append(journal)
        opened.pop_all()
    return journals


@asynccontextmanager
async def opened_journals(urls: Sequence[str], *, timeout_s: float) -> AsyncIterator[Journals]:
    """For who looks once, on one connection each. Raises what `PostgresJournal.open` raises."""
    journals = whole(await open_journals(urls, connections=1, timeout_s=timeout_s))
    try:
        yield journals
    finally:
        await journals.close()


@asynccontextmanager
async def opened_tallies(journals: Journals, urls: Sequence[str], *, timeout_s: float) -> AsyncIterator[Tallies]:
    """Of the journals that were opened from `urls`. Opens its connections when they are needed."""
    async with AsyncExitStack() as opened:
        shards = {}
        for journal, url in zip(journals.shards, urls, strict=True):
            tallies = shards[journal.journal_id] = PostgresTallies(url, timeout_s=timeout_s)
            opened.push_async_callback(tallies.close)
        yield AllTallies(shards) if len(shards) > 1 else tallies
