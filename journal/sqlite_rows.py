"""How rows of the SQLite journal are written and read."""

import json
import sqlite3
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

from journal.order_lines import decode_lines
from journal.protocol import IncarnationRow
from sluice.errors import JournalUnreachable
from sluice.model import STATE_OF_NUMBER, Order
from sluice.sqlite_file import SqliteUnavailable

T = TypeVar("T")

# Microseconds since 1970, as `now` in the database: one clock judges every beat.
CLOCK = "CAST(round((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MICROSECOND = timedelta(microseconds=1)

ORDER_COLUMNS = "order_id, customer_id, lines, state, create_time, update_time, version, hold_end, reason, priority"

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def find_orders(order_ids: Sequence[str], connection: sqlite3.Connection) -> Mapping[str, Order]:
    query = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id IN (SELECT value FROM json_each(?))"  # noqa: S608
    orders = read_orders(query, (encode_json(list(order_ids)),), connection)
    return {order.order_id: order for order in orders}


def read_orders(query: str, arguments: tuple[Any, ...], connection: sqlite3.Connection) -> Sequence[Order]:
    return [read_order(row) for row in connection.execute(query, arguments)]


def read_order(row: tuple[Any, ...]) -> Order:
    """Of the columns ORDER_COLUMNS."""
    order_id, customer_id, lines, state, create_time, update_time, version, hold_end, reason, priority = row
    return Order(
        order_id,
        customer_id,
        decode_lines(lines),
        STATE_OF_NUMBER[state],
        time_of(create_time),
        time_of(update_time),
        version,
        None if hold_end is None else time_of(hold_end),
        reason,
        priority,
    )


def read_incarnation(row: tuple[Any, ...]) -> IncarnationRow:
    name, incarnation, start_time, fenced = row
    return IncarnationRow(name, UUID(incarnation), time_of(start_time), bool(fenced))


def microseconds(time: datetime) -> int:
    """Whole numbers all the way: a float of seconds has no room for them."""
    return (time - _EPOCH) // MICROSECOND


@lru_cache(maxsize=1_024)
def time_of(microseconds: int) -> datetime:
    """Orders of one transaction share their times."""
    return _EPOCH + timedelta(microseconds=microseconds)


async def reaching(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except SqliteUnavailable as error:
        raise JournalUnreachable(str(error), outcome_unknown=error.outcome_unknown) from error
