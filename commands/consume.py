"""`sluice consume NAME...`: consumers in one process, Sluice's own and handlers that users wrote."""

import asyncio
import gc
import importlib
import inspect
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from commands import process
from commands.front import measure_loop_lag
from commands.journals import open_journals
from commands.own_consumer_names import OWN_CONSUMERS, PROJECTION, QUEUE
from commands.own_consumers import own_parts, projection_consumer
from commands.queue_consumer import queue_parts
from commands.stock_servers import rpc_keepers
from consumers.runtime.consuming import consume_kafka
from consumers.runtime.handling import Consumer, now_ms
from consumers.runtime.meters import Meters
from gateway.keepers import Keepers
from journal.postgres_shards import opened_tallies
from journal.protocol import Journal, Journals
from journal.tallies import Tallies
from sluice.seams.stock_projection import StockProjection
from sluice.seams.stock_store import StockStore
from sluice.settings import ConsumeSettings
from sluice.telemetry import http_port, metrics
from sluice.telemetry.standing import Standing
from stockd.stores.chosen import open_projection, open_store

JOURNAL_CONNECTIONS = 2
"""The queue commits one batch while another is on its way; they are opened when they are needed."""

RESERVE_LIMIT_S = 5.0
"""Nobody waits at the other end of a queued order, and one that is tried in vain is tried again."""

_log = structlog.get_logger(__name__)


def run(settings: ConsumeSettings, names: Sequence[str]) -> None:
    """Until SIGTERM: then what is being handled is finished and committed, and the groups are left."""
    process.run(settings, "consume", lambda stop: _serve(settings, names, stop))


async def _serve(settings: ConsumeSettings, names: Sequence[str], stop: asyncio.Event) -> None:
    gc.set_threshold(*process.GC_THRESHOLDS_OF_EVENTS)
    registry = metrics.new_registry()
    standing = Standing(time.monotonic)
    port = http_port.serve(registry, standing, settings.metrics_listen)
    meters = Meters(registry)
    async with AsyncExitStack() as opened:
        background: list[Coroutine[Any, Any, None]] = []
        consumers = [own_consumer(name, settings) for name in names if name not in OWN_CONSUMERS]
        if PROJECTION in names:
            consumers.append(projection_consumer(await opened.enter_async_context(_projection(settings, stop))))
        if built_in := [name for name in names if name in OWN_CONSUMERS and name != PROJECTION]:
            selling = await opened.enter_async_context(_selling(settings, stop))
            background.append(selling.links.watch())
            if QUEUE in built_in:
                queue = queue_parts(
                    selling.links,
                    _only_one(selling.journals),
                    selling.store,
                    registry,
                    reserve_limit_s=RESERVE_LIMIT_S,
                    journal_connections=JOURNAL_CONNECTIONS,
                )
                background.append(queue.watch_journal())
                consumers.append(queue.consumer)
            if others := [name for name in built_in if name != QUEUE]:
                parts = own_parts(settings, registry, selling.journals, selling.tallies, selling.store, selling.links)
                background.append(parts.keep_repairing())
                consumers += [parts.consumers[name] for name in others]
        standing.ready()
        _log.info("serving", metrics_port=port, consumers=[consumer.name for consumer in consumers])
        consuming = [
            asyncio.create_task(
                consume_kafka(
                    consumer,
                    settings.kafka,
                    meters,
                    stop,
                    lanes=settings.lanes,
                    protocol=settings.group_protocol,
                    replication_factor=settings.topic_replication_factor,
                    drain_limit_s=settings.drain_limit_s,
                )
            )
            for consumer in consumers
        ]
        helping = [asyncio.create_task(each) for each in (measure_loop_lag(registry), *background)]
        try:
            await _until_all_end(consuming, stop)
        finally:
            for task in helping:
                task.cancel()
            await asyncio.gather(*helping, return_exceptions=True)


class _Selling(NamedTuple):
    """What consumers need that sell units or give them back."""

    journals: Journals
    tallies: Tallies
    store: StockStore
    links: Keepers


@asynccontextmanager
async def _selling(settings: ConsumeSettings, stop: asyncio.Event) -> AsyncIterator[_Selling]:
    journals = await open_journals(settings, stop, connections=JOURNAL_CONNECTIONS)
    store = await process.open_patiently("stock store", stop, lambda: open_store(settings))
    try:
        async with (
            opened_tallies(journals, settings.journal_urls, timeout_s=settings.journal_timeout_s) as tallies,
            rpc_keepers(settings.stockd) as keepers,
        ):
            with closing(Keepers(keepers)) as links:
                yield _Selling(journals, tallies, store, links)
    finally:
        await store.close()
        await journals.close()


def _only_one(journals: Journals) -> Journal:
    """Raises SystemExit: an order of a queue that is decided in several journals would overtake others."""
    (journal, *others) = journals.shards
    if others:
        raise SystemExit("orders are divided over several journals, and the queue needs one")
    return journal


@asynccontextmanager
async def _projection(settings: ConsumeSettings, stop: asyncio.Event) -> AsyncIterator[StockProjection]:
    projection = await process.open_patiently("projection", stop, lambda: open_projection(settings, now_ms))
    try:
        yield projection
    finally:
        await projection.close()


async def _until_all_end(tasks: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """One that fails ends all: a process that runs half of what it should helps nobody."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    stop.set()
    await asyncio.wait(tasks)
    for task in tasks:
        task.result()


def own_consumer(name: str, settings: ConsumeSettings) -> Consumer:
    """A handler that a user wrote, by its import path `module:function`. Raises SystemExit saying what is wrong."""
    module_name, _, function = name.partition(":")
    if not function:
        raise SystemExit(f"{name!r} is no consumer of Sluice; a handler of your own is module:function")
    topics = [topic.strip() for topic in settings.topics.split(",") if topic.strip()]
    if not topics:
        raise SystemExit(f"{name}: say what it reads with --topics")
    # As `python -m` does: the module may stand in the directory that the command is called in.
    sys.path.insert(0, str(Path.cwd()))
    try:
        handle = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"{name}: {error}") from error
    if not inspect.iscoroutinefunction(handle):
        raise SystemExit(f"{name} is no async function")
    return Consumer(settings.group or name.replace(":", "-"), topics, handle)
