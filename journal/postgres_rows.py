"""How rows of the journal in PostgreSQL are read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from journal.connections import Connection
from journal.order_lines import decode_lines
from sluice.model import STATE_OF_NUMBER, Order

ORDER_COLUMNS = (
    "order_id::text, customer_id, lines, state, create_time, update_time, version, hold_end, reason, priority"
)


async def find_orders(connection: Connection, order_ids: Sequence[str]) -> Mapping[str, Order]:
    query = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ANY ($1)"  # noqa: S608 - a constant
    orders = [read_order(row) for row in await connection.fetch(query, order_ids)]
    return {order.order_id: order for order in orders}


def read_order(row: Iterable[Any]) -> Order:
    """Of the columns ORDER_COLUMNS."""
    order_id, customer_id, lines, state, create_time, update_time, version, hold_end, reason, priority = row
    return Order(
        order_id,
        customer_id,
        decode_lines(lines),
        STATE_OF_NUMBER[state],
        create_time,
        update_time,
        version,
        hold_end,
        reason,
        priority,
    )


def read_sums(rows: Sequence[asyncpg.Record]) -> Mapping[str, int]:
    return {row[0]: row[1] for row in rows}
