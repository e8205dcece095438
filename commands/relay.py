"""`sluice relay`: the process that moves a PostgreSQL outbox to Kafka."""

import asyncio
import signal
from datetime import UTC, datetime
from functools import partial

import structlog
from prometheus_client import REGISTRY, start_http_server

from journal.postgres import PostgresJournal
from journal.protocol import Journal
from relay.kafka_log import KafkaPublisher
from relay.meters import RelayMeters
from relay.relaying import PACE, relay
from relay.topics import RELAY_TOPICS, make_topics
from sluice.errors import JournalUnreachable
from sluice.seams.event_log import EventPublisher
from sluice.settings import RelaySettings, split_host_port

BACKLOG_PERIOD_S = 1.0
"""Counting the backlog reads all of it; once a second is as often as anyone looks at it."""


async def run(settings: RelaySettings) -> None:
    """Until SIGTERM or SIGINT: then finishes what is in flight, deletes it, gives up the lease. A second signal ends
    the process at once. Raises UnusableTopic, DatabaseTooNew.
    """
    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    host, port = split_host_port(settings.metrics_listen)
    server, thread = start_http_server(port, host)
    structlog.get_logger().info("metrics_served", address=f"{host}:{server.server_port}")
    meters = RelayMeters(REGISTRY)
    try:
        journal = await _open_journal(settings, stopping)
        if journal is None:
            return
        watching = asyncio.create_task(_watch_backlog(journal, meters))
        try:
            open_publisher = partial(_open_publisher, settings)
            await relay(journal, open_publisher, meters, stopping, drain_limit_s=settings.drain_limit_s)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await journal.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        structlog.get_logger().info("relay_stopped")


async def _open_publisher(settings: RelaySettings) -> EventPublisher:
    """Asked for after every failure, so topics that were lost with a broker's disk are made again."""
    partitions = await make_topics(
        settings.kafka,
        RELAY_TOPICS,
        partitions=settings.partitions,
        replication_factor=settings.topic_replication_factor,
    )
    return KafkaPublisher(settings.kafka, partitions)


async def _open_journal(settings: RelaySettings, stopping: asyncio.Event) -> PostgresJournal | None:
    """Waits for the database; None if told to stop meanwhile."""
    url = settings.journal_url.get_secret_value()
    backoff_s = PACE.first_backoff_s
    while not stopping.is_set():
        try:
            return await PostgresJournal.open(
                url, connections=settings.journal_connections, timeout_s=settings.journal_timeout_s
            )
        except JournalUnreachable as error:
            structlog.get_logger().warning("journal_unreachable", error=str(error), retry_after_s=backoff_s)
        try:
            async with asyncio.timeout(backoff_s):
                await stopping.wait()
        except TimeoutError:
            backoff_s = min(2 * backoff_s, PACE.longest_backoff_s)
    return None


async def _watch_backlog(journal: Journal, meters: RelayMeters) -> None:
    while True:
        try:
            meters.waiting(await journal.backlog(), datetime.now(UTC))
        except JournalUnreachable:
            # Said by the relay itself; the last known backlog stays on show.
            structlog.get_logger().debug("backlog_unknown")
        await asyncio.sleep(BACKLOG_PERIOD_S)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        stopping.set()
        # From here on the default action: a second signal does not wait.
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
