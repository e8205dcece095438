"""The two SQL functions of the journal that move orders: all of a batch, or nothing and what stands in its way."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any, TypeVar

import asyncpg

from journal.connections import Connection
from journal.limits import orders_beyond
from journal.moved import orders_moved
from journal.order_lines import encode_lines
from journal.postgres_rows import find_orders, read_sums
from journal.protocol import (
    Batch,
    CommitResult,
    Committed,
    IncarnationsFenced,
    LimitsReached,
    OrdersExist,
    OrdersMoved,
    RejectionBatch,
    ReservationKey,
    ReservationsClosed,
    Spend,
    TransitionBatch,
    TransitionResult,
)
from sluice.model import Line, OrderState

BatchT = TypeVar("BatchT", Batch, TransitionBatch, RejectionBatch)

ResultT = TypeVar("ResultT")

FENCED = "SL001"

_ORDERS_EXIST = "SL002"

_RESERVATIONS_CLOSED = "SL003"

_ORDERS_MOVED = "SL004"

_LIMITS_REACHED = "SL005"

_COMMIT = "SELECT commit_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"

_TRANSITION = "SELECT transition_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"

_REJECT = "SELECT reject_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"

LIMITS = "SELECT sku, units FROM sku_limits WHERE sku = ANY ($1)"

# Of customers and SKUs at the same places of the two arrays.
_COUNTED = """
SELECT customer_id, sku, units FROM customer_units
JOIN unnest($1::text[], $2::text[]) AS asked (customer_id, sku) USING (customer_id, sku)
"""


async def commit(batch: Batch, connection: Connection) -> CommitResult:
    """See `journal.protocol.Journal.commit`."""
    return await _all_or_nothing(connection, _COMMIT, _commit_arguments(batch), _COMMIT_REFUSALS, batch)


async def transition(batch: TransitionBatch, connection: Connection) -> TransitionResult:
    """See `journal.protocol.Journal.transition`."""
    return await _all_or_nothing(connection, _TRANSITION, _transition_arguments(batch), _TRANSITION_REFUSALS, batch)


async def reject(batch: RejectionBatch, connection: Connection) -> Committed | OrdersExist:
    """See `journal.protocol.Journal.reject`."""
    return await _all_or_nothing(connection, _REJECT, _reject_arguments(batch), _REJECT_REFUSALS, batch)


def _commit_arguments(batch: Batch) -> tuple[Any, ...]:
    """Rows sorted by key: transactions that meet wait for each other in one order, so they cannot deadlock. Most orders
    of a sale ask for the same few things, so the database reads each of these once.
    """
    orders = sorted(batch.orders)
    ids, customers, lines, holds, priorities, _ = zip(*orders, strict=True) if orders else ((), (), (), (), (), ())
    any_held = any(hold is not None for hold in holds)
    places: defaultdict[tuple[Line, ...], int] = defaultdict(count(1).__next__)
    line_places = [places[of_order] for of_order in lines]
    return (
        batch.create_time,
        ids,
        customers,
        [encode_lines(distinct) for distinct in places],
        line_places if len(places) > 1 else (),
        OrderState.CREATED,
        [hold and batch.create_time + hold for hold in holds] if any_held else (),
        OrderState.HELD,
        priorities if any(priorities) else (),
        *_spend_arguments(batch.spends),
        batch.event_count,
        batch.events,
    )


def _transition_arguments(batch: TransitionBatch) -> tuple[Any, ...]:
    transitions = batch.transitions
    return (
        batch.update_time,
        [transition.order.order_id for transition in transitions],
        [transition.order.version for transition in transitions],
        [transition.state for transition in transitions],
        [transition.reason for transition in transitions],
        [transition.order.order_id for transition in transitions if transition.order.state is OrderState.HELD],
        [transition.order.order_id for transition in transitions if transition.returns_units],
        *_spend_arguments(batch.spends),
        batch.event_count,
        batch.events,
    )


def _reject_arguments(batch: RejectionBatch) -> tuple[Any, ...]:
    rejections = sorted(batch.rejections, key=lambda each: each.order.order_id)
    return (
        batch.time,
        [order.order_id for order, *_ in rejections],
        [order.customer_id for order, *_ in rejections],
        [encode_lines(order.lines) for order, *_ in rejections],
        [order.hold and batch.time + order.hold for order, *_ in rejections],
        [order.priority for order, *_ in rejections],
        [each.reason for each in rejections],
        OrderState.REJECTED,
        batch.event_count,
        batch.events,
    )


def _spend_arguments(unsorted: Sequence[Spend]) -> tuple[Any, ...]:
    spends = sorted(unsorted, key=_reservation)
    froms: list[int] = []
    tos: list[int] = []
    skus: list[str] = []
    units: list[int] = []
    for spend in spends:
        froms.append(len(skus) + 1)
        skus += spend.units.keys()
        units += spend.units.values()
        tos.append(len(skus))
    return (
        sorted({spend.incarnation for spend in spends}),
        [spend.incarnation for spend in spends],
        [spend.seq for spend in spends],
        froms,
        tos,
        skus,
        units,
    )


def _reservation(spend: Spend) -> ReservationKey:
    return spend.incarnation, spend.seq


async def _all_or_nothing(
    connection: Connection,
    statement: str,
    arguments: tuple[Any, ...],
    refusals: Mapping[str, Callable[[Connection, BatchT], Awaitable[ResultT | None]]],
    batch: BatchT,
) -> ResultT | Committed:
    """Calls one of the functions that write a batch, again if what stood in its way is gone when it is looked for."""
    while True:
        try:
            await connection.execute(statement, *arguments)
        except asyncpg.PostgresError as error:
            read_refusal = refusals.get(error.sqlstate or "")
            if read_refusal is None:
                raise
            if refusal := await read_refusal(connection, batch):
                return refusal
        else:
            return Committed()


async def _fenced(connection: Connection, batch: Batch | TransitionBatch) -> IncarnationsFenced | None:
    """None if they can commit now: one was registered since."""
    asked = {spend.incarnation for spend in batch.spends}
    rows = await connection.fetch(
        "SELECT incarnation FROM incarnations WHERE incarnation = ANY ($1) AND NOT fenced", list(asked)
    )
    fenced = frozenset(asked.difference(row[0] for row in rows))
    return IncarnationsFenced(fenced) if fenced else None


async def _existing(connection: Connection, batch: Batch) -> OrdersExist:
    orders = await find_orders(connection, [order.order_id for order in batch.orders])
    if not orders:
        raise ValueError("the batch names an order id twice")
    return OrdersExist(orders)


async def _limited(connection: Connection, batch: Batch) -> LimitsReached | None:
    """None if all may have what they want now: somebody has cancelled."""
    skus = list({sku for order in batch.orders for sku, _ in order.lines})
    limits = read_sums(await connection.fetch(LIMITS, skus))
    asked = [(order.customer_id, sku) for order in batch.orders for sku, _ in order.lines if sku in limits]
    customers, of_skus = zip(*asked, strict=True) if asked else ((), ())
    rows = await connection.fetch(_COUNTED, customers, of_skus)
    reached = orders_beyond(limits, {(customer_id, sku): units for customer_id, sku, units in rows}, batch.orders)
    return LimitsReached(reached) if reached else None


async def _moved(connection: Connection, batch: TransitionBatch) -> OrdersMoved:
    order_ids = [transition.order.order_id for transition in batch.transitions]
    return orders_moved(batch, await find_orders(connection, order_ids))


async def _closed(connection: Connection, batch: Batch | TransitionBatch) -> ReservationsClosed:
    rows = await connection.fetch(
        "SELECT s.incarnation, s.seq, s.skus, s.units FROM spends s"
        " JOIN unnest($1::uuid[], $2::bigint[]) AS asked (incarnation, seq) USING (incarnation, seq)",
        [spend.incarnation for spend in batch.spends],
        [spend.seq for spend in batch.spends],
    )
    if not rows:
        raise ValueError("the batch names a reservation twice")
    return ReservationsClosed({(row[0], row[1]): dict(zip(row[2], row[3], strict=True)) for row in rows})


async def _existing_rejections(connection: Connection, batch: RejectionBatch) -> OrdersExist:
    orders = await find_orders(connection, [each.order.order_id for each in batch.rejections])
    if not orders:
        raise ValueError("the batch names an order id twice")
    return OrdersExist(orders)


# What stands in the way of a batch, by the SQLSTATE with which the function took everything back.
_COMMIT_REFUSALS: Mapping[str, Callable[[Connection, Batch], Awaitable[CommitResult | None]]] = {
    FENCED: _fenced,
    _ORDERS_EXIST: _existing,
    _LIMITS_REACHED: _limited,
    _RESERVATIONS_CLOSED: _closed,
}

_TRANSITION_REFUSALS: Mapping[str, Callable[[Connection, TransitionBatch], Awaitable[TransitionResult | None]]] = {
    FENCED: _fenced,
    _ORDERS_MOVED: _moved,
    _RESERVATIONS_CLOSED: _closed,
}

_REJECT_REFUSALS: Mapping[str, Callable[[Connection, RejectionBatch], Awaitable[OrdersExist | None]]] = {
    _ORDERS_EXIST: _existing_rejections,
}
