"""`sluice relay`: moves a PostgreSQL outbox to Kafka. Run two: one leads, the other takes over when it dies."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import structlog

from commands import process
from journal.postgres import PostgresJournal
from journal.protocol import Journal
from relay.kafka_log import KafkaPublisher
from relay.meters import RelayMeters
from relay.relaying import relay
from sluice.errors import JournalUnreachable
from sluice.kafka_topics import RELAY_TOPICS, make_topics
from sluice.seams.event_log import EventPublisher
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
    journal = await process.open_patiently(
        "journal",
        stop,
        lambda: PostgresJournal.open(
            settings.journal_url.get_secret_value(), connections=1, timeout_s=settings.journal_timeout_s
        ),
    )
    _log.info("serving", metrics_port=port, journal=str(journal.journal_id))
    watching = asyncio.create_task(_watch_backlog(journal, meters))
    try:
        open_publisher = partial(_open_publisher, settings)
        await relay(journal, open_publisher, meters, stop, drain_limit_s=settings.drain_limit_s)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await journal.close()


async def _open_publisher(settings: RelaySettings) -> EventPublisher:
    """Asked for after every failure, so topics that were lost with a broker's disk are made again."""
    partitions = await make_topics(
        settings.kafka,
        RELAY_TOPICS,
        partitions=settings.partitions,
        replication_factor=settings.topic_replication_factor,
    )
    return KafkaPublisher(settings.kafka, partitions)


async def _watch_backlog(journal: Journal, meters: RelayMeters) -> None:
    while True:
        try:
            meters.waiting(await journal.backlog(), datetime.now(UTC))
        except JournalUnreachable as error:
            # The relay itself says so louder; the last known backlog stays on show.
            _log.debug("backlog unknown", reason=str(error))
        await asyncio.sleep(BACKLOG_PERIOD_S)
