"""`sluice gateway`: the front door of a cluster. Stateless; run any number."""

import asyncio

from commands import process
from commands.front import serve_front
from commands.journals import open_journals
from commands.stock_servers import rpc_keepers
from sluice.settings import GatewaySettings
from sluice.telemetry import metrics
from stockd.stores.chosen import open_store


def run(settings: GatewaySettings) -> None:
    process.run(settings, "gateway", lambda stop: _serve(settings, stop))


async def _serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    registry = metrics.new_registry()
    metrics.serve(registry, settings.metrics_listen)
    journals = await open_journals(settings, stop, connections=settings.journal_connections)
    store = await process.open_patiently(
        "stock store",
        stop,
        lambda: open_store(settings),
    )
    try:
        async with rpc_keepers(settings.stockd) as keepers:
            await serve_front(
                listen=settings.listen,
                keepers=keepers,
                journals=journals,
                store=store,
                registry=registry,
                reserve_limit_s=settings.reserve_limit_s,
                journal_connections=settings.journal_connections,
                max_orders_in_flight=settings.max_orders_in_flight,
                max_batches_in_flight=settings.max_batches_in_flight,
                max_stock_watches=settings.max_stock_watches,
                max_watches=settings.max_watches,
                drain_limit_s=settings.drain_limit_s,
                stop=stop,
            )
    finally:
        await store.close()
        await journals.close()
