"""`sluice serve`: everything in one process on SQLite files. No other server, durable, exact."""

import asyncio
import contextlib
import time
from functools import partial
from uuid import uuid4

from commands import process
from commands.data_dir import DATABASE_FILE
from commands.front import serve_front, utc_now
from commands.own_consumer_names import QUEUE, chosen_consumers
from commands.own_consumers import own_parts, projection_consumer
from commands.queue_consumer import queue_parts
from commands.stockd import MAX_WAITING_ORDERS, keep_rolling_up
from consumers.runtime.embedded import consume_embedded
from consumers.runtime.handling import now_ms
from consumers.runtime.meters import Meters
from gateway.keepers import Keepers
from journal.sqlite import SqliteJournal
from journal.sqlite_consumers import SqliteConsumers
from journal.sqlite_requests import SqliteRequests
from journal.sqlite_tallies import SqliteTallies
from sluice.errors import Unreachable
from sluice.settings import EmbeddedSettings
from sluice.sqlite_file import AlreadyServed, SqliteFile
from sluice.telemetry import http_port, metrics
from sluice.telemetry.standing import Standing
from stockd.engine import Engine
from stockd.metrics import StockdMetrics
from stockd.peers import keep_reclaiming
from stockd.stores.sqlite import SqliteStore
from stockd.stores.sqlite_projection import SqliteProjection

STOCKD_NAME = "embedded"

JOURNAL_TRANSACTIONS_IN_FLIGHT = 2
"""SQLite has one writer; the second transaction is encoded while the first is on its way to the disk."""

RESERVATION_GRACE_S = 3.0
STORE_TIMEOUT_S = 1.2
RESERVE_LIMIT_S = 5.0
"""In one process no answer is lost: only a disk that stands still takes this long."""


def run(settings: EmbeddedSettings) -> None:
    process.run(settings, "embedded", lambda stop: _serve(settings, stop))


async def _serve(settings: EmbeddedSettings, stop: asyncio.Event) -> None:
    registry = metrics.new_registry()
    standing = Standing(time.monotonic)
    http_port.serve(registry, standing, settings.metrics_listen)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        file = await SqliteFile.open(settings.data_dir / DATABASE_FILE)
    except AlreadyServed as error:
        raise SystemExit(str(error)) from error
    journal = await SqliteJournal.open(file)
    store = await SqliteStore.open(file)
    incarnation = uuid4()
    await journal.register(STOCKD_NAME, incarnation, utc_now())
    stockd_metrics = StockdMetrics(registry)
    engine = Engine(
        incarnation=incarnation,
        store=store,
        journal=journal,
        monotonic=time.monotonic,
        cpu_s=time.thread_time,
        reservation_grace_s=RESERVATION_GRACE_S,
        store_timeout_s=STORE_TIMEOUT_S,
        max_waiting_orders=MAX_WAITING_ORDERS,
        owners=1,
        metrics=stockd_metrics,
    )
    links = Keepers({STOCKD_NAME: engine})
    own = own_parts(settings, registry, journal, SqliteTallies(file), store, links)
    projecting = projection_consumer(await SqliteProjection.open(file, now_ms))
    requests = SqliteRequests(file, journal.journal_id)
    queue = queue_parts(
        links,
        journal,
        store,
        registry,
        reserve_limit_s=RESERVE_LIMIT_S,
        journal_connections=JOURNAL_TRANSACTIONS_IN_FLIGHT,
    )
    consumers = {**own.consumers, projecting.name: projecting, queue.consumer.name: queue.consumer}
    meters = Meters(registry)
    consuming = [
        partial(
            consume_embedded,
            consumers[name],
            requests if name == QUEUE else journal,
            SqliteConsumers(file),
            meters,
            drain_limit_s=settings.drain_limit_s,
        )
        for name in chosen_consumers(settings.consumers)
    ]
    try:
        await serve_front(
            listen=settings.listen,
            tls=settings.tls,
            keepers={STOCKD_NAME: engine},
            journals=journal,
            store=store,
            requests=requests,
            registry=registry,
            standing=standing,
            reserve_limit_s=RESERVE_LIMIT_S,
            journal_connections=JOURNAL_TRANSACTIONS_IN_FLIGHT,
            max_wait_s=settings.max_wait_s,
            crowd_s=settings.crowd_s,
            max_crowd=settings.max_crowd,
            max_orders_in_flight=settings.max_orders_in_flight,
            max_batches_in_flight=settings.max_batches_in_flight,
            max_stock_watches=settings.max_stock_watches,
            max_watches=settings.max_watches,
            drain_limit_s=settings.drain_limit_s,
            stop=stop,
            background=(
                engine.run,
                partial(keep_reclaiming, journal, store, stockd_metrics),
                partial(keep_rolling_up, incarnation, journal),
                links.watch,
                own.keep_repairing,
                queue.watch_journal,
                *consuming,
            ),
        )
        await engine.drain(settings.drain_limit_s)
    finally:
        links.close()
        with contextlib.suppress(Unreachable):
            await journal.roll_up(incarnation)
        await file.close()
