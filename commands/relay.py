"""`sluice relay`: moves a PostgreSQL outbox to Kafka. Run two: one leads, the other takes over when it dies.

Of several journals each has its own outbox and its own leader; one process stands ready for all of them.
"""

import asyncio
import gc
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import structlog
from prometheus_client import CollectorRegistry

from commands import process
from commands.journals import open_journals
from journal.postgres_slot_maps import PostgresSlotMaps
from journal.protocol import Journal
from relay.few_copies import tell_of_few_copies
from relay.journal_labels import JournalLabels
from relay.meters import RelayMeters
from relay.opening import open_publisher
from relay.relaying import relay
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.kafka_topics import RELAY_TOPICS
from sluice.settings import RelaySettings
from sluice.telemetry import http_port, metrics
from sluice.telemetry.standing import Standing

BACKLOG_PERIOD_S = 1.0
"""Counting the backlog reads all of it; once a second is as often as anyone looks at it."""

ADVICE_RETRY_S = 10.0
"""While Kafka is away."""

_log = structlog.get_logger(__name__)


def run(settings: RelaySettings) -> None:
    """Until SIGTERM: then finishes what is in flight, deletes it, gives up the lease. Raises UnusableTopic."""
    process.run(settings, "relay", lambda stop: _serve(settings, stop))


async def _serve(settings: RelaySettings, stop: asyncio.Event) -> None:
    gc.set_threshold(*process.GC_THRESHOLDS_OF_EVENTS)
    registry = metrics.new_registry()
    standing = Standing(time.monotonic)
    port = http_port.serve(registry, standing, settings.metrics_listen)
    meters = _meters(registry, len(settings.journal_urls))
    journals = await open_journals(settings, stop, connections=1)
    # Beside the work: a relay that takes over must not wait for it.
    advising = asyncio.create_task(_tell_of_few_copies(settings.kafka))
    try:
        shards = journals.shards
        standing.ready()
        _log.info("serving", metrics_port=port, journals=[str(journal.journal_id) for journal in shards])
        relaying = [
            asyncio.create_task(_relay(journal, url, of_journal, settings, stop))
            for journal, url, of_journal in zip(shards, settings.journal_urls, meters, strict=True)
        ]
        # One that fails ends all: a process that runs half of what it should helps nobody.
        await asyncio.wait(relaying, return_when=asyncio.FIRST_EXCEPTION)
        stop.set()
        await asyncio.wait(relaying)
        for task in relaying:
            task.result()
    finally:
        advising.cancel()
        await asyncio.gather(advising, return_exceptions=True)
        await journals.close()


async def _tell_of_few_copies(kafka: str) -> None:
    """Once, when Kafka answers."""
    while True:
        try:
            return await tell_of_few_copies(kafka, RELAY_TOPICS)
        except LogUnreachable:
            await asyncio.sleep(ADVICE_RETRY_S)


def _meters(registry: CollectorRegistry, journals: int) -> Sequence[RelayMeters]:
    if journals == 1:
        return [RelayMeters(registry)]
    registries = [CollectorRegistry() for _ in range(journals)]
    registry.register(JournalLabels(registries))
    return [RelayMeters(each) for each in registries]


async def _relay(journal: Journal, url: str, meters: RelayMeters, settings: RelaySettings, stop: asyncio.Event) -> None:
    slot_maps = PostgresSlotMaps(url, timeout_s=settings.journal_timeout_s)
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


async def _watch_backlog(journal: Journal, meters: RelayMeters) -> None:
    while True:
        try:
            meters.waiting(await journal.backlog(), datetime.now(UTC))
        except JournalUnreachable as error:
            # The relay itself says so louder; the last known backlog stays on show.
            _log.debug("backlog unknown", reason=str(error))
        await asyncio.sleep(BACKLOG_PERIOD_S)
