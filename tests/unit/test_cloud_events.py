"""An event is read from a record's headers as it was written, in whatever order they come; what is none is refused."""

from random import Random
from uuid import uuid4

import pytest

from sluice.cloud_events import HeaderValue, HeaderWriter, UnreadableRecord, read_event
from sluice.seams.event_log import NO_JOURNAL, TOPIC_ORDER_REQUESTED, TOPIC_STOCK_CHANGED, Event, Position
from sluice.trace_context import read_trace_context

TRACE = read_trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "")
POSITION = Position(uuid4(), 7, 3)
EVENT = Event(TOPIC_STOCK_CHANGED, "teapot", b"value", "order/1/teapot", "type", 1_700_000_000_123, POSITION)


def written(event: Event, writer: HeaderWriter | None = None) -> list[tuple[str, HeaderValue]]:
    """As the Kafka client gives headers."""
    headers = (writer or HeaderWriter()).headers(event)
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in headers.items()]


def read(headers: list[tuple[str, HeaderValue]], topic: str = TOPIC_STOCK_CHANGED) -> Event:
    return read_event(topic, b"teapot", b"value", headers, 12)


@pytest.mark.parametrize("event", [EVENT, EVENT._replace(trace=TRACE)], ids=["without a trace", "with a trace"])
def test_what_was_written_is_read(event: Event) -> None:
    assert read(written(event)) == event


def test_one_writer_leaves_nothing_of_an_event_to_the_next() -> None:
    writer = HeaderWriter()
    of_another_order = EVENT._replace(event_id="another/1/teapot", position=POSITION._replace(place=4), trace=None)
    for event in (EVENT._replace(trace=TRACE), of_another_order, EVENT, EVENT._replace(trace=TRACE), of_another_order):
        assert read(written(event, writer)) == event


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_headers_means_nothing(seed: int) -> None:
    headers = written(EVENT)
    Random(seed).shuffle(headers)
    assert read(headers) == EVENT
    assert read([*headers, ("another", b"1")]) == EVENT


def test_in_the_queue_the_place_on_the_log_is_the_position() -> None:
    assert read(written(EVENT), TOPIC_ORDER_REQUESTED).position == Position(NO_JOURNAL, 12, 0)


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_time", "sluice-position"])
@pytest.mark.parametrize("value", [None, b"\xff"], ids=["none", "no text"])
def test_a_header_that_is_no_text_is_refused(name: str, value: bytes | None) -> None:
    with pytest.raises(UnreadableRecord):
        read(list((dict(written(EVENT)) | {name: value}).items()))


@pytest.mark.parametrize("others", [[], [("another", b"1")]], ids=["too few", "as many"])
@pytest.mark.parametrize("name", ["ce_id", "ce_type", "ce_time", "sluice-position"])
def test_a_header_that_is_missing_is_refused(name: str, others: list[tuple[str, HeaderValue]]) -> None:
    with pytest.raises(UnreadableRecord):
        read([header for header in written(EVENT) if header[0] != name] + others)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_time", b"yesterday"),
        ("sluice-position", b"1/2/3"),
        ("sluice-position", b"%s/7" % str(POSITION.journal).encode()),
        ("sluice-position", b"%s/7/x" % str(POSITION.journal).encode()),
    ],
)
def test_a_time_or_a_position_that_is_none_is_refused(name: str, value: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        read(list((dict(written(EVENT)) | {name: value}).items()))
