"""Sluice's own consumers put together: what `sluice consume` and `sluice serve` have in common."""

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter

from commands.front import utc_now
from commands.own_consumer_names import COMPENSATION, LIFECYCLE, PROJECTION
from consumers.compensation import Compensation
from consumers.lifecycle import Check, Lifecycle, blocked_customers, more_units_than, older_than
from consumers.projection import EVENTS_IN_FLIGHT, EVENTS_PER_CALL, Projection
from consumers.runtime.handling import Consumer
from journal.protocol import Journals
from journal.tallies import Tallies, Victims
from orders.moving import Owners, move_orders_anywhere
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED
from sluice.seams.stock_projection import StockProjection
from sluice.seams.stock_store import StockStore
from sluice.settings import ConsumerSettings
from stockd.counter_repair import repair_counter


class OwnParts(NamedTuple):
    """The consumers that change orders, by name, and what runs beside compensation for ever."""

    consumers: Mapping[str, Consumer]
    keep_repairing: Callable[[], Coroutine[Any, Any, None]]


class CompensationMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._orders = Counter(
            "sluice_compensation_orders_cancelled", "Orders cancelled as OVERSOLD by this process", registry=registry
        )
        self._units = Counter(
            "sluice_compensation_units_oversold", "Units of the SKUs that those orders had", registry=registry
        )

    def oversold(self, orders: int, units: int) -> None:
        self._orders.inc(orders)
        self._units.inc(units)


def _lifecycle_count(registry: CollectorRegistry) -> Callable[[str, int], None]:
    orders = Counter(
        "sluice_lifecycle_orders",
        "Orders that this process has moved, by the state or by the check that they failed",
        ["outcome"],
        registry=registry,
    )
    return lambda outcome, count: orders.labels(outcome.lower()).inc(count)


def own_parts(
    settings: ConsumerSettings,
    registry: CollectorRegistry,
    journals: Journals,
    tallies: Tallies,
    store: StockStore,
    owners: Owners,
) -> OwnParts:
    move = partial(move_orders_anywhere, owners=owners, journals=journals, now=utc_now)
    lifecycle = Lifecycle(
        journals.find_orders,
        move,
        checks(settings),
        _lifecycle_count(registry),
        now=utc_now,
        share=settings.lifecycle_share,
    )
    compensation = Compensation(
        tallies,
        store,
        move,
        partial(repair_counter, journal=journals, store=store),
        CompensationMetrics(registry),
        victims=Victims(settings.oversold_first),
        monotonic=time.monotonic,
    )
    return OwnParts(
        {
            LIFECYCLE: Consumer(LIFECYCLE, [TOPIC_ORDER_CREATED], lifecycle.handle),
            COMPENSATION: Consumer(COMPENSATION, [TOPIC_STOCK_CHANGED], compensation.handle),
        },
        compensation.keep_repairing,
    )


def projection_consumer(projection: StockProjection) -> Consumer:
    handle = Projection(projection, monotonic=time.monotonic).handle
    return Consumer(PROJECTION, [TOPIC_STOCK_CHANGED], handle, EVENTS_PER_CALL, EVENTS_IN_FLIGHT)


def checks(settings: ConsumerSettings) -> Sequence[Check]:
    """Those that the settings switch on."""
    blocked = frozenset(name.strip() for name in settings.check_blocked_customers.split(",") if name.strip())
    switched_on = []
    if blocked:
        switched_on.append(blocked_customers(blocked))
    if settings.check_max_order_age_s:
        switched_on.append(older_than(timedelta(seconds=settings.check_max_order_age_s)))
    if settings.check_max_order_units:
        switched_on.append(more_units_than(settings.check_max_order_units))
    return switched_on
