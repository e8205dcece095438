"""A topic of an embedded log from its beginning, in the order of the journal's positions."""

from collections.abc import AsyncIterator, Sequence

from journal.embedded_log import ONLY_PARTITION, READ_ROWS, KeptOutbox
from journal.events import decode_events
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.seams.event_log import LoggedEvent


class EmbeddedLogReading:
    """See `consumers.rebuilding.LogReading`."""

    def __init__(self, outbox: KeptOutbox, topic: str) -> None:
        self._outbox = outbox
        self._topic = topic
        self._after = 0
        self._events = 0

    @property
    def total(self) -> int | None:
        return None

    async def to_end(self) -> AsyncIterator[Sequence[LoggedEvent]]:
        """See LogReading. Raises LogUnreachable, MalformedOutboxRow."""
        while True:
            try:
                rows = await self._outbox.read_outbox(self._after, READ_ROWS)
            except JournalUnreachable as error:
                raise LogUnreachable(str(error)) from error
            for row in rows:
                events = [each for each in decode_events(row, self._outbox.journal_id) if each.topic == self._topic]
                yield [LoggedEvent(event, ONLY_PARTITION, self._events + n) for n, event in enumerate(events)]
                self._events += len(events)
                self._after = row.number
            if len(rows) < READ_ROWS:
                return

    async def close(self) -> None:
        """The outbox belongs to whoever opened it."""
