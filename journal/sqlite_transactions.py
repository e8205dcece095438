"""The SQLite journal's two transactions that move orders: all of a batch, or nothing and what stands in its way."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from journal.limits import orders_beyond
from journal.moved import orders_moved
from journal.order_lines import encode_lines
from journal.protocol import (
    Batch,
    IncarnationsFenced,
    LimitsReached,
    OrdersExist,
    OrdersMoved,
    RejectionBatch,
    ReservationKey,
    ReservationsClosed,
    TransitionBatch,
)
from journal.sqlite_rows import MICROSECOND, encode_json, find_orders, microseconds
from sluice.model import NewOrder, OrderState


class Refused(Exception):
    """Raised inside a write: everything of it is taken back. `what_stands` reads afterwards what was in its way."""

    def __init__(self, what_stands: Callable[[Any, sqlite3.Connection], Any]) -> None:
        super().__init__()
        self.what_stands = what_stands


_INSERT_ORDERS = """
INSERT INTO orders (order_id, customer_id, lines, state, version, create_time, update_time, priority)
SELECT value ->> 0, value ->> 1, value -> 2, :state, 1, :time, :time, value ->> 3
FROM json_each(:orders) WHERE true
ON CONFLICT DO NOTHING
"""

_INSERT_REJECTED = """
INSERT INTO orders (order_id, customer_id, lines, state, version, create_time, update_time, hold_end, priority, reason)
SELECT value ->> 0, value ->> 1, value -> 2, :state, 1, :time, :time, value ->> 3, value ->> 4, value ->> 5
FROM json_each(:orders) WHERE true
ON CONFLICT DO NOTHING
"""

# Of orders that have just been inserted.
_HOLD_ORDERS = """
UPDATE orders SET state = :state, hold_end = held.value ->> 1 FROM json_each(:holds) held
WHERE order_id = held.value ->> 0
"""

_INSERT_HOLDS = "INSERT INTO holds SELECT value ->> 0, value ->> 1 FROM json_each(:holds)"

_DELETE_HOLDS = "DELETE FROM holds WHERE order_id IN (SELECT value FROM json_each(?))"

# Lines are (order, SKU, customer, units).
_COUNT_LINES = """
INSERT INTO counted_lines SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:lines)
"""

_COUNT_CUSTOMERS = """
INSERT INTO customer_units (customer_id, sku, units)
SELECT value ->> 2, value ->> 1, sum(value ->> 3) FROM json_each(:lines) WHERE true GROUP BY 1, 2
ON CONFLICT DO UPDATE SET units = units + excluded.units
"""

_UNCOUNT_CUSTOMERS = """
UPDATE customer_units SET units = customer_units.units - ended.units
FROM (
    SELECT customer_id, sku, sum(units) AS units FROM counted_lines
    WHERE order_id IN (SELECT value FROM json_each(:ended)) GROUP BY customer_id, sku
) AS ended
WHERE customer_units.customer_id = ended.customer_id AND customer_units.sku = ended.sku
"""

_UNCOUNT_LINES = "DELETE FROM counted_lines WHERE order_id IN (SELECT value FROM json_each(:ended))"

_MOVE_ORDERS = """
UPDATE orders SET state = moved.value ->> 2, version = version + 1, update_time = :time, reason = moved.value ->> 3
FROM json_each(:moves) moved
WHERE order_id = moved.value ->> 0 AND version = moved.value ->> 1
"""

_INSERT_SPENDS = """
INSERT INTO spends (incarnation, seq, units, create_time)
SELECT value ->> 0, value ->> 1, value -> 2, :time
FROM json_each(:spends) WHERE true
ON CONFLICT DO NOTHING
"""


def commit(batch: Batch, connection: sqlite3.Connection) -> None:
    time = microseconds(batch.create_time)
    fenced, any_limits = _look_around(batch, connection)
    if fenced:
        raise Refused(lambda *_: fenced)
    if batch.orders:
        orders = {"orders": _order_rows(batch.orders), "state": OrderState.CREATED, "time": time}
        if connection.execute(_INSERT_ORDERS, orders).rowcount < len(batch.orders):
            raise Refused(_existing)
        if holds := [(order[0], time + order.hold // MICROSECOND) for order in batch.orders if order.hold]:
            held = {"holds": encode_json(holds), "state": OrderState.HELD}
            connection.execute(_HOLD_ORDERS, held)
            connection.execute(_INSERT_HOLDS, held)
        if any_limits:
            _count_customer_units(batch.orders, connection)
    _insert_spends_and_events(batch, time, connection)


def transition(batch: TransitionBatch, connection: sqlite3.Connection) -> None:
    time = microseconds(batch.update_time)
    if batch.spends and (refusal := _fenced(batch, connection)):
        raise Refused(lambda *_: refusal)
    moves = [(order.order_id, order.version, state, reason) for order, state, reason, _ in batch.transitions]
    if connection.execute(_MOVE_ORDERS, {"moves": encode_json(moves), "time": time}).rowcount < len(moves):
        raise Refused(_moved)
    if left_holds := [order.order_id for order, *_ in batch.transitions if order.state is OrderState.HELD]:
        connection.execute(_DELETE_HOLDS, (encode_json(left_holds),))
    if ended := [step.order.order_id for step in batch.transitions if step.returns_units]:
        connection.execute(_UNCOUNT_CUSTOMERS, {"ended": encode_json(ended)})
        connection.execute(_UNCOUNT_LINES, {"ended": encode_json(ended)})
    _insert_spends_and_events(batch, time, connection)


def reject(batch: RejectionBatch, connection: sqlite3.Connection) -> None:
    time = microseconds(batch.time)
    rows = [
        (*order[:3], order.hold and time + order.hold // MICROSECOND, order.priority, reason)
        for order, reason, *_ in sorted(batch.rejections, key=lambda each: each.order.order_id)
    ]
    rejected = {"orders": encode_json(rows), "state": OrderState.REJECTED, "time": time}
    if connection.execute(_INSERT_REJECTED, rejected).rowcount < len(rows):
        raise Refused(_existing_rejections)
    _insert_events(batch.events, batch.event_count, time, connection)


def _insert_spends_and_events(batch: Batch | TransitionBatch, time: int, connection: sqlite3.Connection) -> None:
    if batch.spends:
        rows = [(str(spend.incarnation), spend.seq, dict(spend.units)) for spend in batch.spends]
        if connection.execute(_INSERT_SPENDS, {"spends": encode_json(rows), "time": time}).rowcount < len(rows):
            raise Refused(_closed)
    if batch.event_count:
        _insert_events(batch.events, batch.event_count, time, connection)


def _insert_events(events: bytes, event_count: int, time: int, connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO outbox (create_time, event_count, events) VALUES (?, ?, ?)", (time, event_count, events)
    )


def _count_customer_units(orders: Sequence[NewOrder], connection: sqlite3.Connection) -> None:
    limits = read_limits(list({sku for order in orders for sku, _ in order.lines}), connection)
    lines = [
        (order.order_id, sku, order.customer_id, quantity)
        for order in orders
        for sku, quantity in order.lines
        if sku in limits
    ]
    if not lines:
        return
    have = counted_units([(customer_id, sku) for _, sku, customer_id, _ in lines], connection)
    if beyond := orders_beyond(limits, have, orders):
        raise Refused(lambda *_: LimitsReached(beyond))
    counted = {"lines": encode_json(lines)}
    connection.execute(_COUNT_LINES, counted)
    connection.execute(_COUNT_CUSTOMERS, counted)


def read_limits(skus: Sequence[str], connection: sqlite3.Connection) -> dict[str, int]:
    query = "SELECT sku, units FROM sku_limits WHERE sku IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(query, (encode_json(list(skus)),)).fetchall())


def counted_units(asked: Sequence[tuple[str, str]], connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    rows = connection.execute(
        "SELECT customer_id, sku, units FROM customer_units"
        " WHERE (customer_id, sku) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
        (encode_json(list(asked)),),
    )
    return {(customer_id, sku): units for customer_id, sku, units in rows}


def _order_rows(orders: Sequence[NewOrder]) -> str:
    """As JSON, sorted by id: neighbours in the tree are written together."""
    rows = (
        f'["{order_id}",{encode_json(customer_id)},{encode_lines(lines)},{priority}]'
        for order_id, customer_id, lines, _, priority, _ in sorted(orders)
    )
    return f"[{','.join(rows)}]"


def _fenced(batch: Batch | TransitionBatch, connection: sqlite3.Connection) -> IncarnationsFenced | None:
    return _look_around(batch, connection).fenced


class _Surroundings(NamedTuple):
    fenced: IncarnationsFenced | None
    any_limits: bool


def _look_around(batch: Batch | TransitionBatch, connection: sqlite3.Connection) -> _Surroundings:
    """What a batch needs to know first, in one statement: every one more delays all orders."""
    asked = {spend.incarnation for spend in batch.spends}
    rows = connection.execute(
        "SELECT NULL, EXISTS (SELECT 1 FROM sku_limits) UNION ALL"
        " SELECT incarnation, NULL FROM incarnations"
        " WHERE NOT fenced AND incarnation IN (SELECT value FROM json_each(?))",
        (encode_json([str(incarnation) for incarnation in asked]),),
    ).fetchall()
    fenced = frozenset(asked.difference([UUID(row[0]) for row in rows[1:]]))
    return _Surroundings(IncarnationsFenced(fenced) if fenced else None, bool(rows[0][1]))


def _existing(batch: Batch, connection: sqlite3.Connection) -> OrdersExist:
    orders = find_orders([order.order_id for order in batch.orders], connection)
    if not orders:
        raise ValueError("the batch names an order id twice")
    return OrdersExist(orders)


def _existing_rejections(batch: RejectionBatch, connection: sqlite3.Connection) -> OrdersExist:
    orders = find_orders([each.order.order_id for each in batch.rejections], connection)
    if not orders:
        raise ValueError("the batch names an order id twice")
    return OrdersExist(orders)


def _moved(batch: TransitionBatch, connection: sqlite3.Connection) -> OrdersMoved:
    return orders_moved(batch, find_orders([order.order_id for order, *_ in batch.transitions], connection))


def _closed(batch: Batch | TransitionBatch, connection: sqlite3.Connection) -> ReservationsClosed:
    sold: dict[ReservationKey, Mapping[str, int]] = {}
    for spend in batch.spends:
        row = connection.execute(
            "SELECT units FROM spends WHERE incarnation = ? AND seq = ?", (str(spend.incarnation), spend.seq)
        ).fetchone()
        if row:
            sold[spend.incarnation, spend.seq] = json.loads(row[0])
    if not sold:
        raise ValueError("the batch names a reservation twice")
    return ReservationsClosed(sold)
