"""`sluice relay`: moves a PostgreSQL outbox to Kafka. Run two: one leads, the other takes over when it dies."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import structlog

from commands import process
from journal.postgres import PostgresJournal
from journal.postgres_slot_maps import PostgresSlotMaps
from journal.protocol import Journal
from relay.meters import RelayMeters
from relay.opening import open_publisher
from relay.relaying import relay
from sluice.errors import JournalUnreachable
from sluice.settings import RelaySettings
from sluice.telemetry import metrics

BACKLOG_PERIOD_S = 1.0
"""Counting the backlog reads all of it; once a second is as often as anyone looks at it."""

_log = structlog.get_logger(__name__)


def run(settings: RelaySettings) -> None:
    """Until SIGTERM: then finishes what is in flight, deletes it, gives up the lease. Raises UnusableTopic."""
    process.run(settings, "relay", lambda stop: _serve(settings, stop))


async def _serve(settings: RelaySettings, stop: asyncio.Event) -> None:
    registry = metrics.new_registry()
    port = metrics.serve(registry, settings.metrics_listen)
    meters = RelayMeters(registry)
    url = settings.journal_url.get_secret_value()
    journal = await process.open_patiently(
        "journal", stop, lambda: PostgresJournal.open(url, connections=1, timeout_s=settings.journal_timeout_s)
    )
    slot_maps = PostgresSlotMaps(url, timeout_s=settings.journal_timeout_s)
    _log.info("serving", metrics_port=port, journal=str(journal.journal_id))
    watching = asyncio.create_task(_watch_backlog(journal, meters))
    try:
        # Asked for after every failure, so topics that were lost with a broker's disk are made again.
        opened = partial(
            open_publisher,
            settings.kafka,
            slot_maps,
            partitions=settings.partitions,
            replication_factor=settings.topic_replication_factor,
        )
        await relay(journal, opened, meters, stop, drain_limit_s=settings.drain_limit_s)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await slot_maps.close()
        await journal.close()


async def _watch_backlog(journal: Journal, meters: RelayMeters) -> None:
    while True:
        try:
            meters.waiting(await journal.backlog(), datetime.now(UTC))
        except JournalUnreachable as error:
            # The relay itself says so louder; the last known backlog stays on show.
            _log.debug("backlog unknown", reason=str(error))
        await asyncio.sleep(BACKLOG_PERIOD_S)
