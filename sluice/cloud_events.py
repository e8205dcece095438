"""An event as a Kafka record: CloudEvents binary mode, as sluice/events/v1/events.proto promises it, and back.

Headers cost more than anything else the relay does with an event, so whatever is the same for many events is kept.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sluice.seams.event_log import NO_JOURNAL, TOPIC_ORDER_REQUESTED, TOPIC_STOCK_CHANGED, Event, Position, new_tuple
from sluice.trace_context import TRACEPARENT, TRACESTATE, TraceContext, read_trace_context

HeaderValue = str | bytes | None
Headers = dict[str, HeaderValue] | list[tuple[str, HeaderValue]]
"""As the Kafka client takes and gives them; values that were read are bytes."""

CONTENT_TYPE = "application/protobuf"

USUAL_HEADERS = 7


class UnreadableRecord(Exception):
    """A record that no relay has written: a header is missing or is not what it should be."""


class HeaderWriter:
    """Makes headers; remembers the last journal and what the last event of each type had in common with its row."""

    def __init__(self) -> None:
        self._journal: UUID | None = None
        self._source: HeaderValue = b""
        self._position_prefix = ""
        self._time_ms: int | None = None
        self._in_common: dict[str, dict[str, HeaderValue]] = {}

    def headers(self, event: Event) -> dict[str, HeaderValue]:
        """Only until the next call: what is made is one mapping for all events of a type, because the Kafka client has
        copied it when `produce` returns. It reads a mapping in two thirds of the time that a list of pairs needs.
        """
        _, _, _, event_id, event_type, time_ms, (journal, number, place), trace = event
        if time_ms != self._time_ms or journal is not self._journal:
            self._start_row(journal, time_ms)
        in_common = self._in_common.get(event_type)
        if in_common is None:
            in_common = self._in_common[event_type] = {
                "ce_specversion": b"1.0",
                "ce_source": self._source,
                "ce_type": event_type.encode(),
                "ce_time": _rfc3339(time_ms).encode(),
                "content-type": CONTENT_TYPE.encode(),
            }
        in_common["ce_id"] = event_id
        in_common["sluice-position"] = f"{self._position_prefix}{number}/{place}"
        return in_common if trace is None else {**in_common, **_trace_headers(trace)}

    def _start_row(self, journal: UUID, time_ms: int) -> None:
        self._in_common.clear()
        self._time_ms = time_ms
        if journal is not self._journal:
            self._journal = journal
            self._source = f"/sluice/{journal}".encode()
            self._position_prefix = f"{journal}/"


def request_headers(event_id: str, event_type: str, time_ms: int, trace: TraceContext | None) -> dict[str, HeaderValue]:
    """Of a record of `order-requested`."""
    return {
        "ce_specversion": "1.0",
        "ce_source": "/sluice",
        "ce_type": event_type,
        "ce_time": _rfc3339(time_ms),
        "content-type": CONTENT_TYPE,
        "ce_id": event_id,
        **(_trace_headers(trace) if trace is not None else {}),
    }


def _trace_headers(trace: TraceContext) -> dict[str, HeaderValue]:
    parent: dict[str, HeaderValue] = {TRACEPARENT: trace.traceparent}
    return {**parent, TRACESTATE: trace.tracestate} if trace.tracestate else parent


def read_event(topic: str, key: bytes | None, value: bytes | None, headers: Headers | None, offset: int) -> Event:
    """The event that `HeaderWriter` or `request_headers` made a record of, at `offset`. Raises UnreadableRecord."""
    if key is None or value is None:
        raise UnreadableRecord("no key or no value")
    if len(headers or ()) == USUAL_HEADERS and topic != TOPIC_ORDER_REQUESTED:
        try:
            return _usual_event(topic, key, value, headers)
        except (ValueError, TypeError, AttributeError):
            pass  # somebody else has written it
    named = dict(headers or ())
    try:
        return Event(
            topic,
            _often(key),
            value,
            _header(named, "ce_id").decode(),
            _often(_header(named, "ce_type")),
            _time_ms(_header(named, "ce_time")),
            _position(named) if topic != TOPIC_ORDER_REQUESTED else Position(NO_JOURNAL, offset, 0),
            _trace(named) if TRACEPARENT in named else None,
        )
    except ValueError as error:
        raise UnreadableRecord(str(error)) from error


def _usual_event(topic: str, key: bytes, value: bytes, headers: Any) -> Event:
    """What has the headers that `HeaderWriter` gives an event without a trace, in its order: half the time of looking
    for each by its name. Raises ValueError, TypeError or AttributeError for anything else.
    """
    _, _, (a, event_type), (b, time), _, (c, event_id), (d, position) = headers
    if a != "ce_type" or b != "ce_time" or c != "ce_id" or d != "sluice-position":
        raise ValueError
    row, _, place = position.rpartition(b"/")
    journal, number = _row(row)
    of_event = (
        topic,
        _often(key) if topic == TOPIC_STOCK_CHANGED else key.decode(),  # order ids do not repeat
        value,
        event_id.decode(),
        _often(event_type),
        _time_ms(time),
        new_tuple(Position, (journal, number, int(place))),
        None,
    )
    return new_tuple(Event, of_event)


def _position(named: Mapping[str, HeaderValue]) -> Position:
    row, _, place = _header(named, "sluice-position").rpartition(b"/")
    journal, number = _row(row)
    return Position(journal, number, int(place))


def _trace(named: Mapping[str, HeaderValue]) -> TraceContext | None:
    state = _header(named, TRACESTATE).decode() if TRACESTATE in named else ""
    return read_trace_context(_header(named, TRACEPARENT).decode(), state)


# What many events have in common is parsed once: that is dearer than everything else here. And it is one object for
# all of them: a consumer has tens of thousands of events in its memory.
_journal_id = lru_cache(maxsize=64)(UUID)
_often = lru_cache(maxsize=4_096)(bytes.decode)


@lru_cache(maxsize=1_024)
def _row(text: bytes) -> tuple[UUID, int]:
    journal, number = text.decode().split("/")
    return _journal_id(journal), int(number)


@lru_cache(maxsize=1_024)
def _time_ms(text: bytes) -> int:
    return round(datetime.fromisoformat(text.decode()).timestamp() * 1000)


def _header(headers: Mapping[str, HeaderValue], name: str) -> bytes:
    value = headers.get(name)
    if not isinstance(value, bytes):
        raise UnreadableRecord(f"no header {name}")
    return value


def _rfc3339(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"
