"""The front door put together: what `sluice gateway` and `sluice serve` have in common."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from grpc_channelz.v1 import channelz
from prometheus_client import CollectorRegistry, Gauge

from commands.process import until_stopped
from gateway import order_service, stock_service
from gateway.changing import CANCEL, CONFIRM, Changing
from gateway.committing import Committing
from gateway.keepers import KeeperLink, Keepers
from gateway.metrics import GatewayMetrics
from gateway.order_service import OrderService, find_queued
from gateway.placing import Placing
from gateway.queueing import NO_QUEUE, Queueing
from gateway.stock_reading import StockReading
from gateway.stock_service import StockService
from gateway.stock_watching import StockWatching
from gateway.watching import Watching
from journal.protocol import Journal
from orders.expiring import keep_expiring
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.reachability import Reachability
from sluice.rpc import reflection
from sluice.rpc import server as rpc_server
from sluice.rpc.health import Health
from sluice.seams.request_log import RequestLog
from sluice.seams.stock_keeper import StockKeeper
from sluice.seams.stock_store import StockStore
from sluice.settings import split_host_port
from sluice.telemetry import metrics

KEEPERS_PROBE_MESSAGE = "no stock server answers"

# The services are served by names; importing the modules puts their descriptors where reflection looks.
REFLECTED_SERVICES = (order_service.SERVICE_NAME, stock_service.SERVICE_NAME)
assert orders_pb2.DESCRIPTOR
assert stock_pb2.DESCRIPTOR

_log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


async def serve_front(
    *,
    listen: str,
    keepers: Mapping[str, StockKeeper],
    journal: Journal,
    store: StockStore,
    requests: RequestLog | None,
    registry: CollectorRegistry,
    reserve_limit_s: float,
    journal_connections: int,
    max_orders_in_flight: int,
    max_batches_in_flight: int,
    max_stock_watches: int,
    max_watches: int,
    drain_limit_s: float,
    stop: asyncio.Event,
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Serves until `stop`, then drains: nothing new is taken in, what is in flight is answered.

    `background` runs as long; if one of it fails, so does this. Without `requests` there is no queue mode.
    """
    server = rpc_server.new_server()
    links = Keepers(keepers)

    async def probe_keepers() -> None:
        if links.all_away():
            raise ConnectionError(KEEPERS_PROBE_MESSAGE)

    journal_reach = Reachability("journal", journal.ping)
    store_reach = Reachability("stock store", store.ping)
    queue_reach = Reachability("queue", (requests or NO_QUEUE).ping)
    queue_reach.away = requests is None
    keepers_reach = Reachability("stock servers", probe_keepers)
    order_needs = (journal_reach, keepers_reach, store_reach)
    health = Health(
        server,
        {
            "": order_needs,
            order_service.SERVICE_NAME: order_needs,
            stock_service.SERVICE_NAME: (store_reach, journal_reach),
        },
    )
    gateway_metrics = GatewayMetrics(registry)
    committing = Committing(journal, journal_reach, now=utc_now, connections=journal_connections)
    placing = Placing(
        links,
        journal,
        committing,
        journal_reach,
        monotonic=time.monotonic,
        reserve_limit_s=reserve_limit_s,
        max_orders_in_flight=max_orders_in_flight,
        metrics=gateway_metrics,
    )
    queueing = Queueing(
        requests or NO_QUEUE,
        queue_reach,
        journal,
        journal_reach,
        now=utc_now,
        max_orders_in_flight=max_orders_in_flight,
        metrics=gateway_metrics,
    )
    confirming, cancelling = (
        Changing(change, journal, links, journal_reach, now=utc_now, metrics=gateway_metrics)
        for change in (CONFIRM, CANCEL)
    )
    watching = Watching(
        journal, journal_reach, partial(find_queued, queueing), max_watches=max_watches, metrics=gateway_metrics
    )
    orders = OrderService(
        placing,
        queueing,
        confirming,
        cancelling,
        watching,
        journal,
        max_batches_in_flight=max_batches_in_flight,
        metrics=gateway_metrics,
    )
    stock_reading = StockReading(store, journal, now=utc_now)
    stock_watching = StockWatching(
        stock_reading.read, max_watches=max_stock_watches, look_seconds=gateway_metrics.stock_look_seconds
    )
    stock = StockService(store, journal, stock_reading, stock_watching)
    for name, text, value in (
        ("stock_watches", "watches of stock that are open", lambda: stock_watching.open_watches),
        ("orders_in_flight", "orders being decided", lambda: placing.orders_in_flight),
        ("watches", "watches of orders that are open", lambda: watching.open_watches),
    ):
        metrics.gauge(registry, f"sluice_gateway_{name}", text, value)
    # A gateway without its queue is healthy: only orders that are to be queued need it.
    reaches = order_needs if requests is None else (*order_needs, queue_reach)
    _show_reach(registry, reaches)
    _show_keepers(registry, links)
    server.add_generic_rpc_handlers((orders.handler(), stock.handler()))
    reflection.enable(server, REFLECTED_SERVICES)
    channelz.add_channelz_servicer(server)
    port = await rpc_server.start(server, listen)
    _log.info("serving", listen=f"{split_host_port(listen)[0]}:{port}")
    try:
        watches = [reach.watch() for reach in reaches]
        await until_stopped(
            stop,
            health.publish(),
            measure_loop_lag(registry),
            links.watch(),
            stock_watching.keep_looking(),
            watching.keep_looking(),
            keep_expiring(journal, links, utc_now, gateway_metrics.holds_expired.inc),
            *watches,
            *(work() for work in background),
        )
    finally:
        _log.info("draining")
        await health.drain()
        orders.stop_reading()
        stock_watching.stop()
        watching.stop()
        await server.stop(grace=drain_limit_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_limit_s):
                await placing.idle()
                await queueing.idle()
                await confirming.idle()
                await cancelling.idle()
        links.close()


LOOP_LAG_INTERVAL_S = 0.25


def _show_reach(registry: CollectorRegistry, reaches: Sequence[Reachability]) -> None:
    for reach in reaches:
        name = f"sluice_gateway_{reach.name.replace(' ', '_')}_away"
        metrics.gauge(registry, name, f"1 while the {reach.name} does not answer", partial(_away, reach))


def _away(reach: Reachability) -> float:
    return float(reach.away)


def _show_keepers(registry: CollectorRegistry, links: Keepers) -> None:
    answers = Gauge("sluice_gateway_stockd_answers", "1 while this stock server answers", ["stockd"], registry=registry)
    for link in links.links():
        answers.labels(link.name).set_function(partial(_answers, link))


def _answers(link: KeeperLink) -> float:
    return float(not link.away)


async def measure_loop_lag(registry: CollectorRegistry) -> None:
    """The best single sign of overload of a Python process: how late a timer of the event loop fires."""
    lag_s = 0.0
    metrics.gauge(registry, "sluice_event_loop_lag_seconds", "lateness of a timer of the event loop", lambda: lag_s)
    while True:
        due = time.monotonic() + LOOP_LAG_INTERVAL_S
        await asyncio.sleep(LOOP_LAG_INTERVAL_S)
        lag_s = max(0.0, time.monotonic() - due)
