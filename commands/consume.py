"""`sluice consume NAME...`: consumers in one process, Sluice's own and handlers that users wrote."""

import asyncio
import importlib
import inspect
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog

from commands import process
from commands.front import measure_loop_lag
from consumers.runtime.consuming import Consumer, consume_kafka
from consumers.runtime.meters import Meters
from sluice.settings import ConsumeSettings
from sluice.telemetry import metrics

_log = structlog.get_logger(__name__)


def run(settings: ConsumeSettings, names: Sequence[str]) -> None:
    """Until SIGTERM: then what is being handled is finished and committed, and the groups are left."""
    process.run(settings, "consume", lambda stop: _serve(settings, names, stop))


async def _serve(settings: ConsumeSettings, names: Sequence[str], stop: asyncio.Event) -> None:
    registry = metrics.new_registry()
    port = metrics.serve(registry, settings.metrics_listen)
    meters = Meters(registry)
    consumers = [own_consumer(name, settings) for name in names]
    _log.info("serving", metrics_port=port, consumers=[consumer.name for consumer in consumers])
    consuming = [
        partial(
            consume_kafka,
            consumer,
            settings.kafka,
            meters,
            stop,
            lanes=settings.lanes,
            protocol=settings.group_protocol,
            replication_factor=settings.topic_replication_factor,
            drain_limit_s=settings.drain_limit_s,
        )
        for consumer in consumers
    ]
    lag = asyncio.create_task(measure_loop_lag(registry))
    try:
        await _until_all_end([asyncio.create_task(each()) for each in consuming], stop)
    finally:
        lag.cancel()


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
