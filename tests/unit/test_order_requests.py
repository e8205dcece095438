"""An order comes out of the queue as it went in, on Kafka and in the file of an embedded gateway."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.events import decode_events, encode_request_events
from journal.protocol import OutboxRow
from journal.sqlite import SqliteJournal
from journal.sqlite_requests import SqliteRequests
from sluice.cloud_events import read_event, request_headers
from sluice.model import NewOrder, QueuePosition
from sluice.order_requests import (
    NoOrderRequest,
    OrderRequest,
    decode_request,
    encode_request,
    queue_key,
    request_event_id,
)
from sluice.seams.event_log import NO_JOURNAL, TOPIC_ORDER_REQUESTED, Position
from sluice.seams.request_log import QueuedOrder
from sluice.sqlite_file import SqliteFile
from sluice.trace_context import TraceContext
from tests.journals import NOW, new_order
from tests.unit.test_outbox_payload import HOLDS, LINES, NAMES, TIMES

ORDERS = st.builds(NewOrder, st.uuids().map(str), NAMES, LINES, HOLDS, st.integers(0, 1_000), st.none())
TRACE = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1")
JOURNAL = UUID(int=7)


@given(ORDERS, TIMES)
def test_there_and_back(order: NewOrder, time) -> None:
    assert decode_request(encode_request(order, time)) == OrderRequest(order, time)


@given(st.lists(st.builds(OrderRequest, ORDERS, TIMES), max_size=5))
def test_in_the_form_of_an_outbox_row(requests: list[OrderRequest]) -> None:
    payload, count = encode_request_events(requests)
    events = decode_events(OutboxRow(3, NOW, payload, count), JOURNAL)
    assert [decode_request(event.value) for event in events] == requests
    traced = [request._replace(order=request.order._replace(trace=TRACE)) for request in requests[1:]]
    again = decode_events(OutboxRow(3, NOW, *encode_request_events([*requests[:1], *traced])), JOURNAL)
    assert [event.value for event in again] == [event.value for event in events]
    assert [event.trace for event in again[1:]] == [TRACE] * len(traced)
    assert [(event.topic, event.key, event.event_id, event.position) for event in events] == [
        (
            TOPIC_ORDER_REQUESTED,
            queue_key(order.lines),
            request_event_id(order.order_id),
            Position(JOURNAL, 3, place),
        )
        for place, (order, _) in enumerate(requests)
    ]


def test_on_kafka_its_place_on_the_log_is_its_position() -> None:
    order = new_order({"cup": 1, "tea": 2})
    named = dict(request_headers(request_event_id(order.order_id), "sluice.order.requested.v1", 1_000, TRACE))
    headers = {name: value.encode() if isinstance(value, str) else value for name, value in named.items()}
    event = read_event(TOPIC_ORDER_REQUESTED, b"cup", encode_request(order, NOW), headers, 42)
    assert event.position == Position(NO_JOURNAL, 42, 0)
    assert event.event_id == f"{order.order_id}/0"
    assert event.trace == TRACE


@pytest.mark.parametrize("value", [b"\xff", b"", encode_request(NewOrder(str(UUID(int=1)), "anna", ()), NOW)])
def test_what_is_no_order_is_refused(value: bytes) -> None:
    with pytest.raises(NoOrderRequest):
        decode_request(value)


@given(ORDERS, TIMES, st.data())
def test_a_damaged_one_is_refused_or_still_an_order(order: NewOrder, time, data: st.DataObject) -> None:
    value = encode_request(order, time)
    at = data.draw(st.integers(0, len(value) - 1))
    with suppress(NoOrderRequest):
        decode_request(value[:at] + bytes([data.draw(st.integers(0, 255))]) + value[at + 1 :])


async def test_in_a_file_every_order_has_the_next_place_and_is_found_by_its_id(tmp_path: Path) -> None:
    file = await SqliteFile.open(tmp_path / "journal.db")
    journal = await SqliteJournal.open(file)
    requests = SqliteRequests(file, journal.journal_id)
    batches = [[OrderRequest(new_order(), NOW) for _ in range(size)] for size in (3, 1, 5)]
    positions = [await requests.append(batch) for batch in batches]
    assert [each for batch in positions for each in batch] == [QueuePosition(0, offset) for offset in range(9)]
    again = OrderRequest(batches[0][2].order._replace(hold=timedelta(minutes=1)), NOW)
    assert await requests.append([again]) == [QueuePosition(0, 9)]
    for request, position in zip(
        [each for batch in batches for each in batch], [each for batch in positions for each in batch], strict=True
    ):
        assert await requests.find(request.order.order_id, None) == QueuedOrder(request, position)
    assert await requests.find(new_order().order_id, None) is None
    rows = [row async for page in requests.scan_outbox() for row in page]
    assert [(row.number, row.event_count) for row in rows] == [(1, 3), (4, 1), (5, 5), (10, 1)]
    assert await requests.read_outbox(1, 2) == rows[1:3]
    await file.close()
