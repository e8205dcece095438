"""`sluice stockd`: one stock server with a stable name. Every start of it is a new incarnation."""

import asyncio
import contextlib
import time
from uuid import UUID, uuid4

import structlog
from grpc_channelz.v1 import channelz

from commands import process
from commands.careless_settings import tell_of_careless_settings
from commands.front import measure_loop_lag, utc_now
from commands.journals import open_journals
from journal.protocol import IncarnationFenced, Journals
from sluice.errors import Unreachable
from sluice.reachability import Reachability
from sluice.rpc import server as rpc_server
from sluice.rpc.health import Health
from sluice.settings import StockdSettings
from sluice.telemetry import http_port, metrics
from sluice.telemetry.standing import Standing
from stockd.engine import Engine
from stockd.metrics import StockdMetrics
from stockd.peers import keep_beating, keep_reclaiming, keep_watching_peers
from stockd.service import SERVICE_NAME, keeper_service
from stockd.stores.chosen import open_store

MAX_WAITING_ORDERS = 100_000
"""Orders that may wait for units at once: about 50 MB of memory at worst."""

OWNERS_PER_SKU = 2
"""A SKU's owner, and the next in rank that serves while the owner is away."""

ROLL_UP_INTERVAL_S = 10.0
"""How often spends are added up: reading what was sold then adds at most some seconds of rows."""

_log = structlog.get_logger(__name__)


def run(settings: StockdSettings) -> None:
    process.run(settings, settings.name, lambda stop: _serve(settings, stop))


async def _serve(settings: StockdSettings, stop: asyncio.Event) -> None:
    registry = metrics.new_registry()
    standing = Standing(time.monotonic)
    http_port.serve(registry, standing, settings.metrics_listen)
    journal = await open_journals(settings, stop, connections=1)
    store = await process.open_patiently(
        "stock store",
        stop,
        lambda: open_store(settings),
    )
    incarnation = uuid4()
    await process.open_patiently("journal", stop, lambda: journal.register(settings.name, incarnation, utc_now()))
    # It goes on until everything is given back: who takes long to stop must not be taken for dead.
    beating = asyncio.ensure_future(keep_beating(incarnation, journal, settings.beat_interval_s))
    # Beside the work: nobody who wants to buy must wait for it.
    advising = asyncio.ensure_future(tell_of_careless_settings(settings, store))
    stockd_metrics = StockdMetrics(registry)
    engine = Engine(
        incarnation=incarnation,
        store=store,
        journal=journal,
        monotonic=time.monotonic,
        cpu_s=time.thread_time,
        reservation_grace_s=settings.reservation_grace_s,
        store_timeout_s=settings.store_timeout_s,
        max_waiting_orders=MAX_WAITING_ORDERS,
        owners=OWNERS_PER_SKU,
        metrics=stockd_metrics,
        counter_refresh_s=settings.counter_refresh_s,
    )
    metrics.gauge(
        registry,
        "sluice_stockd_counter_uncounted_units",
        "units of counter SKUs sold or granted that other servers may not see",
        engine.units_uncounted,
    )
    metrics.gauge(registry, "sluice_stockd_escrow_units", "units taken and not granted", engine.units_free)
    metrics.gauge(registry, "sluice_stockd_in_doubt_units", "units granted and not settled", engine.units_in_doubt)
    metrics.gauge(registry, "sluice_stockd_open_reservations", "reservations not settled", engine.open_reservations)
    server = rpc_server.new_server()
    store_reach = Reachability("stock store", store.ping)
    health = Health(server, {"": (store_reach,), SERVICE_NAME: (store_reach,)})
    server.add_generic_rpc_handlers((keeper_service(engine),))
    channelz.add_channelz_servicer(server)
    port = await rpc_server.start(server, settings.listen, settings.tls)
    standing.ready_unless(health.missing)
    _log.info("serving", port=port, incarnation=str(incarnation))
    try:
        await process.until_stopped(
            stop,
            engine.run(),
            store_reach.watch(),
            health.publish(),
            measure_loop_lag(registry),
            _until_done(beating),
            keep_watching_peers(incarnation, journal, settings.peer_dead_after_s, time.monotonic, stockd_metrics),
            keep_reclaiming(journal, store, stockd_metrics),
            keep_rolling_up(incarnation, journal),
        )
    except IncarnationFenced as error:
        _log.error(
            "stopping: a successor, a peer or an operator has fenced this incarnation",
            incarnation=str(error.incarnation),
        )
        raise SystemExit(1) from error
    finally:
        await health.drain()
        await server.stop(grace=settings.drain_limit_s)
        await engine.drain(settings.drain_limit_s)
        for task in (beating, advising):
            task.cancel()
        await asyncio.gather(beating, advising, return_exceptions=True)
        with contextlib.suppress(Unreachable):
            await journal.roll_up(incarnation)
            # A server that stopped in order is not silent. One that was fenced while it slept may have taken units when
            # it woke: fenced again it is swept again.
            await journal.fence(incarnation)
        await store.close()
        await journal.close()


async def _until_done(task: asyncio.Future[None]) -> None:
    """Ends as the task ends; the task does not end with it."""
    await asyncio.shield(task)


async def keep_rolling_up(incarnation: UUID, journal: Journals) -> None:
    while True:
        await asyncio.sleep(ROLL_UP_INTERVAL_S)
        with contextlib.suppress(Unreachable):
            await journal.roll_up(incarnation)
