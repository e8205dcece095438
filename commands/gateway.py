"""`sluice gateway`: the front door of a cluster. Stateless; run any number."""

import asyncio
import time

from commands import process
from commands.front import serve_front
from commands.journals import open_journals
from commands.stock_servers import rpc_keepers
from sluice.seams.request_log import RequestLog
from sluice.settings import GatewaySettings
from sluice.telemetry import http_port, metrics
from sluice.telemetry.standing import Standing
from stockd.stores.chosen import open_store


def run(settings: GatewaySettings) -> None:
    process.run(settings, "gateway", lambda stop: _serve(settings, stop))


async def _serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    registry = metrics.new_registry()
    standing = Standing(time.monotonic)
    http_port.serve(registry, standing, settings.metrics_listen)
    journals = await open_journals(settings, stop, connections=settings.journal_connections)
    store = await process.open_patiently(
        "stock store",
        stop,
        lambda: open_store(settings),
    )
    requests = _open_queue(settings.kafka, len(journals.shards))
    try:
        async with rpc_keepers(settings.stockd) as keepers:
            await serve_front(
                listen=settings.listen,
                tls=settings.tls,
                keepers=keepers,
                journals=journals,
                store=store,
                requests=requests,
                registry=registry,
                standing=standing,
                reserve_limit_s=settings.reserve_limit_s,
                journal_connections=settings.journal_connections,
                max_wait_s=settings.max_wait_s,
                crowd_s=settings.crowd_s,
                max_crowd=settings.max_crowd,
                max_orders_in_flight=settings.max_orders_in_flight,
                max_batches_in_flight=settings.max_batches_in_flight,
                max_stock_watches=settings.max_stock_watches,
                max_watches=settings.max_watches,
                drain_limit_s=settings.drain_limit_s,
                stop=stop,
            )
    finally:
        if requests is not None:
            await requests.close()
        await store.close()
        await journals.close()


def _open_queue(kafka: str, journals: int) -> RequestLog | None:
    """None: orders cannot be queued here. In several journals the order of a queue could not be kept."""
    if not kafka or journals > 1:
        return None
    # Its client takes memory and threads, which a gateway without a queue does not need.
    from gateway.kafka_requests import KafkaRequests  # noqa: PLC0415

    return KafkaRequests(kafka)
