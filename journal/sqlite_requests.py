"""The queue in the SQLite file of a process that runs everything: a table beside the journal's.

Batches of orders are kept in the form of outbox rows, so that whatever reads the outbox can read the queue. There is
one partition; an order's offset counts the orders of the queue from 0.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar
from uuid import UUID

from journal.embedded_log import ONLY_PARTITION
from journal.events import decode_events, encode_request_events
from journal.protocol import OutboxRow
from journal.sqlite_rows import encode_json, microseconds, reaching, time_of
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.model import QueuePosition
from sluice.order_requests import OrderRequest, decode_request
from sluice.seams.request_log import QueuedOrder
from sluice.sqlite_file import SqliteFile

T = TypeVar("T")

SCAN_ROWS = 50
"""Of at most 5,000 orders each."""

_INSERT_PLACES = """
INSERT INTO requested_orders SELECT value, :first - 1 + key FROM json_each(:order_ids) WHERE true ON CONFLICT DO NOTHING
"""

_ROW_OF_ORDER = """
SELECT place, first, create_time, requests, request_count FROM requested_orders
JOIN order_requests ON first = (SELECT max(first) FROM order_requests WHERE first <= place + 1)
WHERE order_id = ?
"""


class _Batch(NamedTuple):
    time: int
    order_ids: str
    requests: bytes
    request_count: int


class SqliteRequests:
    """See `sluice.seams.request_log.RequestLog`; and what it says of reading is as in SqliteJournal. The journal must
    have been opened before on the same file.
    """

    def __init__(self, file: SqliteFile, journal_id: UUID) -> None:
        self._file = file
        self._journal_id = journal_id

    @property
    def journal_id(self) -> UUID:
        return self._journal_id

    async def append(self, requests: Sequence[OrderRequest]) -> Sequence[QueuePosition]:
        order_ids = encode_json([request.order.order_id for request in requests])
        batch = _Batch(microseconds(requests[0].time), order_ids, *encode_request_events(requests))
        first = await _on_log(self._file.write(partial(_append, batch)))
        return [QueuePosition(ONLY_PARTITION, first - 1 + n) for n in range(len(requests))]

    async def find(self, order_id: str, position: QueuePosition | None) -> QueuedOrder | None:
        """By its id alone: there is an index."""
        del position
        found = await _on_log(self._file.read(lambda c: c.execute(_ROW_OF_ORDER, (order_id,)).fetchone()))
        if found is None:
            return None
        place, first, time, requests, count = found
        events = decode_events(OutboxRow(first, time_of(time), requests, count), self._journal_id)
        request = decode_request(events[place - first + 1].value)
        return QueuedOrder(request, QueuePosition(ONLY_PARTITION, place))

    async def ping(self) -> None:
        await _on_log(self._file.read(lambda c: c.execute("SELECT 1").fetchone()))

    async def read_outbox(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """Batches that begin above `after`, in order."""
        return await reaching(self._file.read(partial(_rows, after, limit)))

    async def scan_outbox(self) -> AsyncIterator[Sequence[OutboxRow]]:
        after = 0
        async with self._file.snapshot() as snapshot:
            while page := await reaching(snapshot.read(partial(_rows, after, SCAN_ROWS))):
                yield page
                after = page[-1].number

    async def close(self) -> None:
        """The file belongs to whoever opened it."""


def _append(batch: _Batch, connection: sqlite3.Connection) -> int:
    last = connection.execute("SELECT first + request_count FROM order_requests ORDER BY first DESC LIMIT 1").fetchone()
    first: int = last[0] if last else 1
    connection.execute(
        "INSERT INTO order_requests VALUES (?, ?, ?, ?)", (first, batch.time, batch.request_count, batch.requests)
    ).close()
    connection.execute(_INSERT_PLACES, {"first": first, "order_ids": batch.order_ids}).close()
    return first


def _rows(after: int, limit: int, connection: sqlite3.Connection) -> Sequence[OutboxRow]:
    rows = connection.execute(
        "SELECT first, create_time, requests, request_count FROM order_requests WHERE first > ? ORDER BY first LIMIT ?",
        (after, limit),
    )
    return [OutboxRow(first, time_of(time), requests, count) for first, time, requests, count in rows]


async def _on_log(answer: Awaitable[T]) -> T:
    try:
        return await reaching(answer)
    except JournalUnreachable as error:
        raise LogUnreachable(str(error), outcome_unknown=error.outcome_unknown) from error
