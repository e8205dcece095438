"""The journals that a setting names, waited for."""

import asyncio

from commands.process import open_patiently
from journal import postgres_shards
from journal.all_journals import whole
from journal.protocol import Journals
from sluice.settings import JournalSettings


async def open_journals(settings: JournalSettings, stop: asyncio.Event, *, connections: int) -> Journals:
    """All of them; with so many connections that commit to each."""
    urls, timeout_s = settings.journal_urls, settings.journal_timeout_s
    return whole(
        await open_patiently(
            "journal",
            stop,
            lambda: postgres_shards.open_journals(urls, connections=connections, timeout_s=timeout_s),
        )
    )
