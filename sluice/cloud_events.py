"""An event as a Kafka record: CloudEvents binary mode, as sluice/events/v1/events.proto promises it, and back.

Headers cost more than anything else the relay does with an event, so whatever is the same for many events is kept.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from sluice.seams.event_log import Event, Position
from sluice.slots import SLOT_COUNT

HeaderValue = str | bytes | None
Headers = dict[str, HeaderValue] | list[tuple[str, HeaderValue]]
"""As the Kafka client takes and gives them; values that were read are bytes."""

_SPEC_VERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/protobuf")
_SLOTS = tuple(("sluice-slot", str(slot).encode()) for slot in range(SLOT_COUNT))


class UnreadableRecord(Exception):
    """A record that no relay has written: a header is missing or is not what it should be."""


class HeaderWriter:
    """Makes headers; remembers the last journal and time, which rarely change from one event to the next."""

    def __init__(self) -> None:
        self._journal: UUID | None = None
        self._source = ("ce_source", b"")
        self._position_prefix = ""
        self._time_ms: int | None = None
        self._time = ("ce_time", b"")
        self._types: dict[str, tuple[str, bytes]] = {}

    def headers(self, event: Event, slot: int) -> list[tuple[str, HeaderValue]]:
        journal, number, place = event.position
        if journal is not self._journal:
            self._journal = journal
            self._source = ("ce_source", f"/sluice/{journal}".encode())
            self._position_prefix = f"{journal}/"
        if event.time_ms != self._time_ms:
            self._time_ms = event.time_ms
            self._time = ("ce_time", _rfc3339(event.time_ms).encode())
        event_type = self._types.get(event.event_type)
        if event_type is None:
            event_type = self._types[event.event_type] = ("ce_type", event.event_type.encode())
        return [
            _SPEC_VERSION,
            ("ce_id", event.event_id.encode()),
            self._source,
            event_type,
            self._time,
            ("ce_subject", event.key.encode()),
            _CONTENT_TYPE,
            ("sluice-position", f"{self._position_prefix}{number}/{place}".encode()),
            _SLOTS[slot],
        ]


def read_event(topic: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> Event:
    """The event that `HeaderWriter` made a record of. Raises UnreadableRecord."""
    if key is None or value is None:
        raise UnreadableRecord("no key or no value")
    named = dict(headers or ())
    try:
        journal, number, place = _text(named, "sluice-position").split("/")
        return Event(
            topic,
            key.decode(),
            value,
            _text(named, "ce_id"),
            _text(named, "ce_type"),
            round(datetime.fromisoformat(_text(named, "ce_time")).timestamp() * 1000),
            Position(UUID(journal), int(number), int(place)),
        )
    except ValueError as error:
        raise UnreadableRecord(str(error)) from error


def _text(headers: Mapping[str, HeaderValue], name: str) -> str:
    value = headers.get(name)
    if not isinstance(value, bytes):
        raise UnreadableRecord(f"no header {name}")
    return value.decode()


def _rfc3339(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"
