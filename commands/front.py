"""The front door put together: what `sluice gateway` and `sluice serve` have in common."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import grpc
import structlog
from grpc_channelz.v1 import channelz
from prometheus_client import CollectorRegistry, Gauge

from commands.process import until_stopped
from gateway import order_service, stock_service
from gateway.admission import Admission
from gateway.changing import CANCEL, CONFIRM, Changing
from gateway.committing import Committing
from gateway.keepers import KeeperLink, Keepers
from gateway.metrics import GatewayMetrics
from gateway.order_service import OrderService
from gateway.placing import GROUPS_IN_FLIGHT, Placing
from gateway.queueing import NO_QUEUE, Queueing
from gateway.shards import OrderShard, OrderShards, share_of
from gateway.stock_reading import StockReading
from gateway.stock_service import StockService
from gateway.stock_watching import StockWatching
from gateway.watching import Watching
from journal.protocol import Journal, Journals
from orders.expiring import keep_expiring
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.host_port import split_host_port
from sluice.reachability import Reachability
from sluice.rpc import reflection
from sluice.rpc import server as rpc_server
from sluice.rpc.arrivals import Arrivals
from sluice.rpc.health import Health
from sluice.rpc.taking_calls import Server
from sluice.seams.request_log import RequestLog
from sluice.seams.stock_keeper import StockKeeper
from sluice.seams.stock_store import StockStore
from sluice.telemetry import metrics
from sluice.telemetry.standing import Standing
from sluice.tls_files import TlsFiles

LINGER_S = 0.2
"""From the end of the last stream until connections are closed. A client that is still writing then would lose answers
that it has not read yet: the kernel throws them away with the connection."""

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
    tls: TlsFiles | None,
    keepers: Mapping[str, StockKeeper],
    journals: Journals,
    store: StockStore,
    requests: RequestLog | None,
    registry: CollectorRegistry,
    standing: Standing,
    reserve_limit_s: float,
    journal_connections: int,
    max_wait_s: float,
    crowd_s: float,
    max_crowd: int,
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
    admission = Admission(max_wait_s=max_wait_s, crowd_s=crowd_s, max_crowd=max_crowd)
    Arrivals(server, time.monotonic, admission.look)
    links = Keepers(keepers)

    async def probe_keepers() -> None:
        if links.all_away():
            raise ConnectionError(KEEPERS_PROBE_MESSAGE)

    shards = journals.shards
    journal_reaches = [Reachability(_journal_name(journal, len(shards)), journal.ping) for journal in shards]
    journal_reach = _any_of(journal_reaches)
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

    queueing = Queueing(
        requests or NO_QUEUE,
        queue_reach,
        journals,
        journal_reach,
        now=utc_now,
        max_orders_in_flight=max_orders_in_flight,
        metrics=gateway_metrics,
    )

    def order_shard(journal: Journal, reach: Reachability) -> OrderShard:
        placing = Placing(
            links,
            journal,
            Committing(journal, reach, now=utc_now, connections=journal_connections),
            reach,
            monotonic=time.monotonic,
            reserve_limit_s=reserve_limit_s,
            max_orders_in_flight=share_of(max_orders_in_flight, len(shards)),
            # Groups that want the same few units wait for each other's answers: no more of them than with one journal.
            groups_in_flight=share_of(GROUPS_IN_FLIGHT, len(shards)),
            metrics=gateway_metrics,
        )
        confirming, cancelling = (
            Changing(change, journal, links, reach, now=utc_now, metrics=gateway_metrics)
            for change in (CONFIRM, CANCEL)
        )
        watching = Watching(
            journal,
            reach,
            queueing.find,
            max_watches=share_of(max_watches, len(shards)),
            metrics=gateway_metrics,
        )
        return OrderShard(placing, confirming, cancelling, watching)

    order_shards = OrderShards(list(map(order_shard, shards, journal_reaches)))
    orders = OrderService(
        order_shards,
        queueing,
        journals,
        admission=admission,
        max_batches_in_flight=max_batches_in_flight,
        metrics=gateway_metrics,
    )
    reading = StockReading(store, journals, now=utc_now)
    stock_watching = StockWatching(
        reading.read, max_watches=max_stock_watches, look_seconds=gateway_metrics.stock_look_seconds
    )
    stock = StockService(store, journals, reading, stock_watching)
    # A gateway without its queue is healthy: only orders that are to be queued need it.
    reaches = {*order_needs, *journal_reaches, *([queue_reach] if requests is not None else [])}
    _show(registry, reaches, order_shards, stock_watching)
    _show_keepers(registry, links)
    _offer(server, orders, stock)
    port = await rpc_server.start(server, listen, tls)
    standing.ready_unless(health.missing)
    _log.info("serving", listen=f"{split_host_port(listen)[0]}:{port}", tls=tls is not None)
    try:
        watches = [reach.watch() for reach in reaches]
        await until_stopped(
            stop,
            health.publish(),
            measure_loop_lag(registry),
            links.watch(),
            stock_watching.keep_looking(),
            order_shards.keep_looking(),
            *(keep_expiring(journal, links, utc_now, gateway_metrics.holds_expired.inc) for journal in shards),
            *watches,
            *(work() for work in background),
        )
    finally:
        _log.info("draining")
        await health.drain()
        stock_watching.stop()
        order_shards.stop_watching()
        await _end_calls(server, orders, drain_limit_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_limit_s):
                await order_shards.idle()
                await queueing.idle()
        links.close()


def _offer(server: Server, orders: OrderService, stock: StockService) -> None:
    server.add_generic_rpc_handlers((orders.handler(), stock.handler()))
    server.refuse(orders.surplus())
    reflection.enable(server, REFLECTED_SERVICES)
    channelz.add_channelz_servicer(server)


async def _end_calls(server: grpc.aio.Server, orders: OrderService, limit_s: float) -> None:
    if await orders.end_streams(limit_s):
        await asyncio.sleep(LINGER_S)
    await server.stop(grace=limit_s)


LOOP_LAG_INTERVAL_S = 0.25


def _journal_name(journal: Journal, shards: int) -> str:
    return f"journal {journal.shard}" if shards > 1 else "journal"


def _any_of(journals: Sequence[Reachability]) -> Reachability:
    """Away when all are: while one answers, there are orders to take."""
    if len(journals) == 1:
        return journals[0]

    async def probe() -> None:
        if all(reach.away for reach in journals):
            raise ConnectionError("no journal answers")

    return Reachability("journals", probe)


def _show(
    registry: CollectorRegistry, reaches: Collection[Reachability], orders: OrderShards, stock: StockWatching
) -> None:
    show = partial(metrics.gauge, registry)
    show("sluice_gateway_stock_watches", "watches of stock that are open", lambda: stock.open_watches)
    show("sluice_gateway_orders_in_flight", "orders being decided", lambda: orders.orders_in_flight)
    show("sluice_gateway_watches", "watches of orders that are open", lambda: orders.open_watches)
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
