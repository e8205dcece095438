"""The seam to the event log: Kafka, or the outbox itself where everything runs in one process."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from sluice.slot_map import SlotMap
from sluice.trace_context import TraceContext

TOPIC_ORDER_CREATED = "order-created"
TOPIC_ORDER_VALIDATED = "order-validated"
TOPIC_ORDER_CONFIRMED = "order-confirmed"
TOPIC_ORDER_CANCELLED = "order-cancelled"
TOPIC_ORDER_REJECTED = "order-rejected"
TOPIC_STOCK_CHANGED = "stock-changed"
TOPIC_ORDER_REQUESTED = "order-requested"


new_tuple = tuple.__new__
"""Makes an event or a position of all its fields in half the time of its own constructor, for those who make a hundred
thousand a second."""


class Position(NamedTuple):
    """Where an event stands: the journal it comes from, its outbox row's number there, its place in that row.

    A consumer that keeps the highest position per partition and journal can drop whatever is not above it. In the queue
    the place on the log is the position: of NO_JOURNAL on Kafka, where many gateways write it.
    """

    journal: UUID
    number: int
    place: int


NO_JOURNAL = UUID(int=0)


class Event(NamedTuple):
    """One event, ready for a log. `value` is the protobuf message of the topic; `time_ms` since the Unix epoch.
    `trace`: of whoever caused it, if there is one.
    """

    topic: str
    key: str
    value: bytes
    event_id: str
    event_type: str
    time_ms: int
    position: Position
    trace: TraceContext | None = None


class LoggedEvent(NamedTuple):
    """An event as read back, with where the log keeps it."""

    event: Event
    partition: int
    offset: int


class EventPublisher(Protocol):
    """Only a relay that holds the outbox's lease publishes."""

    async def place_by(self, maps: Sequence[SlotMap], journal: UUID) -> None:
        """Places what is published from now on by the last of these maps of each topic; `journal` is whose they are.
        Everybody can read all of them on the log before the first event is placed by them. Raises LogUnreachable.
        """
        ...

    async def publish(self, events: Sequence[Event]) -> None:
        """Appends in the given order; returns when every event is acknowledged as durable. A key's events stay in
        order across calls that are made in order, even if they overlap. Raises LogUnreachable; then any of them may
        have been written, nothing of a key follows what failed, every later call raises too, and publishing the same
        events again by another publisher, after this one is closed, is the right answer.
        """
        ...

    async def close(self) -> None:
        """Drops what is not acknowledged yet."""
        ...


class EventLog(Protocol):
    """What anyone may read."""

    def read(self, topic: str, *, follow: bool) -> AsyncIterator[LoggedEvent]:
        """Every event of the topic from the oldest kept; ends at what was the end when it began unless `follow`."""
        ...

    def read_pages(self, topics: Sequence[str]) -> AsyncIterator[Iterator[LoggedEvent]]:
        """Every event of the topics, many at a time, up to what was the end when it began; those of one partition in
        order. For who reads millions of them: one by one, and topic by topic, that takes twice as long. A page is read
        to its end before the next one is asked for.
        """
        ...

    async def close(self) -> None: ...
