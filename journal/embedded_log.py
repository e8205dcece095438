"""The event log of a process that runs everything: the outbox itself, whose rows are kept, and the queue beside it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Protocol
from uuid import UUID

from journal.events import decode_events
from journal.protocol import OutboxRow
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED, Event, LoggedEvent

READ_ROWS = 50
"""A row holds up to about 1 MB."""

FOLLOW_POLL_S = 0.1
"""Between looks at a log that had nothing new; a person who follows it does not see the difference."""

ONLY_PARTITION = 0


class KeptOutbox(Protocol):
    """What the SQLite journal offers to readers besides the lease, and the queue in the same file."""

    @property
    def journal_id(self) -> UUID: ...

    async def read_outbox(self, after: int, limit: int) -> Sequence[OutboxRow]:
        """Rows with a number above `after`, by number."""
        ...

    def scan_outbox(self) -> AsyncIterator[Sequence[OutboxRow]]: ...


class EmbeddedLog:
    """One partition; an event's offset is its place among the topic's events. `queue` has `order-requested`."""

    def __init__(
        self,
        outbox: KeptOutbox,
        queue: KeptOutbox | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._outbox = outbox
        self._queue = queue or outbox
        self._sleep = sleep

    async def read(self, topic: str, *, follow: bool) -> AsyncIterator[LoggedEvent]:
        """See EventLog. Raises LogUnreachable, MalformedOutboxRow."""
        offset = 0
        outbox = self._queue if topic == TOPIC_ORDER_REQUESTED else self._outbox
        try:
            async for rows in self._follow(outbox) if follow else outbox.scan_outbox():
                for row in rows:
                    for event in decode_events(row, outbox.journal_id):
                        if event.topic == topic:
                            yield LoggedEvent(event, ONLY_PARTITION, offset)
                            offset += 1
        except JournalUnreachable as error:
            raise LogUnreachable(str(error)) from error

    async def read_pages(self, topics: Sequence[str]) -> AsyncIterator[Iterator[LoggedEvent]]:
        """See EventLog, of topics that are in the outbox: a row is read once for all of them. Raises as `read` does."""
        offsets = dict.fromkeys(topics, 0)
        try:
            async for rows in self._outbox.scan_outbox():
                for row in rows:
                    yield _counted(decode_events(row, self._outbox.journal_id), offsets)
        except JournalUnreachable as error:
            raise LogUnreachable(str(error)) from error

    async def _follow(self, outbox: KeptOutbox) -> AsyncIterator[Sequence[OutboxRow]]:
        number = 0
        while True:
            rows = await outbox.read_outbox(number, READ_ROWS)
            if rows:
                number = rows[-1].number
                yield rows
            else:
                await self._sleep(FOLLOW_POLL_S)

    async def close(self) -> None:
        """The outbox belongs to whoever opened it."""


def _counted(events: Sequence[Event], offsets: dict[str, int]) -> Iterator[LoggedEvent]:
    """Those of the topics in `offsets`, which go on by as many."""
    for event in events:
        topic = event.topic
        if topic in offsets:
            yield LoggedEvent(event, ONLY_PARTITION, offsets[topic])
            offsets[topic] += 1
