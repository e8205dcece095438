"""Moves the outbox to the event log: number, read, decode, publish, delete, over and over, while holding the lease.

What this promises, whatever breaks in between: every committed event gets on the log; a key's events get there first
in the order of their positions; a row is deleted only when all of its events are acknowledged. Repeats happen, and
are exact: the same event with the same id and position.

That holds because every run over the outbox starts at its lowest row and goes up with a publisher of its own, which
lets nothing follow what failed. A predecessor that still sends (a zombie) only repeats what this one publishes too.

Where a key goes may change, but only between two numbers, and only when everything below is acknowledged and deleted
(`journal/slot_maps.py`). So a relay looks at the slot maps when it begins and after each numbering: then they are right
for every row that it can read, and a zombie's are right for every row that it has.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

import structlog

from journal.events import MalformedOutboxRow, decode_events
from journal.protocol import Journal, OutboxLease, OutboxRow
from relay.meters import RelayMeters
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.seams.event_log import Event, EventPublisher

OpenPublisher = Callable[[], Awaitable[EventPublisher]]
"""Raises LogUnreachable."""

MAX_EVENTS_IN_FLIGHT = 30_000
"""Not acknowledged yet. At 150,000 events/s Kafka may take 200 ms to answer, gathering a batch included, before this
slows the relay down; at about 1.7 KB an event, decoded and queued, it is 50 MB. One row is always let through, whatever
its size."""

CHUNK_EVENTS = 1_000
"""Rows are published together until they make this many events: what one publish costs besides its events (a task, a
future) is nothing beside 1,000, and decoding them holds the loop up for 3 ms only."""

MAX_ROWS_PER_READ = 64
"""Rows of 5,000 orders are above 1 MB each: 64 of them still fit in memory. Small rows mean a small load."""


class Pace(NamedTuple):
    """How long to wait for what, seconds."""

    idle_poll_s: float = 0.05
    """Between looks at an outbox that had nothing new: what a lone order waits for at most."""

    standby_poll_s: float = 1.0
    """Between tries for the lease. A successor must be at work 3 s after its predecessor died."""

    first_backoff_s: float = 0.1
    longest_backoff_s: float = 3.0
    """After failures in a row, doubling from the first to the longest: long enough not to trouble a server that
    starts, short enough that the backlog drains soon after it is back."""

    poisoned_retry_s: float = 5.0
    """Between looks at a row that could not be read: somebody has to repair it first."""


PACE = Pace()

_topic_of = attrgetter("topic")


async def relay(
    journal: Journal,
    open_publisher: OpenPublisher,
    meters: RelayMeters,
    stopping: asyncio.Event,
    *,
    drain_limit_s: float,
    pace: Pace = PACE,
) -> None:
    """Leads or stands by until `stopping` is set; then what is in flight is finished, for `drain_limit_s` at most.

    Servers that are away are waited for. Whatever `open_publisher` raises besides LogUnreachable ends the relay.
    """
    log = structlog.get_logger()
    backoff_s = pace.first_backoff_s
    standing_by = False
    while not stopping.is_set():
        try:
            async with journal.lease_outbox() as lease:
                if lease is None:
                    if not standing_by:
                        log.info("relay_stands_by")
                    standing_by = True
                    backoff_s = pace.first_backoff_s
                    await _pause(stopping, pace.standby_poll_s)
                    continue
                standing_by = False
                backoff_s = pace.first_backoff_s
                log.info("relay_leads", journal=str(journal.journal_id))
                meters.leading(True)
                await lead(
                    lease,
                    journal.journal_id,
                    open_publisher,
                    meters,
                    stopping,
                    drain_limit_s=drain_limit_s,
                    pace=pace,
                )
        except JournalUnreachable as error:
            log.warning("journal_unreachable", error=str(error), retry_after_s=backoff_s)
            await _pause(stopping, backoff_s)
            backoff_s = min(2 * backoff_s, pace.longest_backoff_s)
        finally:
            meters.leading(False)
            meters.poisoned(0)


async def lead(
    lease: OutboxLease,
    journal_id: UUID,
    open_publisher: OpenPublisher,
    meters: RelayMeters,
    stopping: asyncio.Event,
    *,
    drain_limit_s: float,
    pace: Pace,
) -> None:
    """Publishes until `stopping` is set, with a new publisher after each failure. Raises JournalUnreachable when the
    lease is lost: nothing is published any more then.
    """
    log = structlog.get_logger()
    backoff_s = pace.first_backoff_s
    while not stopping.is_set():
        run: _Run | None = None
        try:
            publisher = await open_publisher()
            try:
                run = _Run(lease, journal_id, publisher, meters, pace)
                await run.go(stopping, drain_limit_s)
            finally:
                await publisher.close()
        except LogUnreachable as error:
            meters.publishing_failed()
            if run is not None and run.made_progress:
                backoff_s = pace.first_backoff_s
            log.warning("event_log_unreachable", error=str(error), retry_after_s=backoff_s)
            await _pause(stopping, backoff_s)
            backoff_s = min(2 * backoff_s, pace.longest_backoff_s)
            # The lease must not be believed in for as long as the log is away.
            await lease.number_new()


class _Chunk(NamedTuple):
    """Rows that were handed to the publisher together."""

    numbers: Sequence[int]
    events_by_topic: Counter[str]
    publishing: asyncio.Task[None]


class _Run:
    """One publisher's way through the outbox, upwards from its lowest row."""

    def __init__(
        self, lease: OutboxLease, journal_id: UUID, publisher: EventPublisher, meters: RelayMeters, pace: Pace
    ) -> None:
        self._lease = lease
        self._journal_id = journal_id
        self._publisher = publisher
        self._meters = meters
        self._pace = pace
        self._read_to = 0
        self._largest_row_events = 1
        self._unsent: deque[OutboxRow] = deque()
        self._in_flight: deque[_Chunk] = deque()
        self._events_in_flight = 0
        self._map_version = -1
        self._poisoned: int | None = None
        self._something_finished = asyncio.Event()
        self._failure: BaseException | None = None
        self.made_progress = False

    async def go(self, stopping: asyncio.Event, drain_limit_s: float) -> None:
        """Raises LogUnreachable, JournalUnreachable."""
        try:
            await self._learn_maps()
            while not stopping.is_set():
                if await self._lease.number_new():
                    await self._learn_maps()
                read_all = await self._read()
                await self._send()
                await self._delete_acknowledged()
                if self._poisoned is not None and not self._in_flight:
                    await _pause(stopping, self._pace.poisoned_retry_s)
                    self._look_again_at_poisoned()
                elif read_all or self._is_full:
                    await self._wait(self._pace.idle_poll_s)
            await self._drain(drain_limit_s)
        finally:
            await self._abandon()

    async def _learn_maps(self) -> None:
        version = await self._lease.map_version()
        if version != self._map_version:
            await self._publisher.place_by(await self._lease.slot_maps(), self._journal_id)
            self._map_version = version

    async def _drain(self, limit_s: float) -> None:
        deadline = asyncio.timeout(limit_s)
        try:
            async with deadline:
                await self._delete_acknowledged()
                while self._in_flight:
                    await self._wait(limit_s)
                    await self._delete_acknowledged()
        except TimeoutError:
            if not deadline.expired():
                raise
            structlog.get_logger().warning("drain_limit_reached", events_in_flight=self._events_in_flight)

    @property
    def _is_full(self) -> bool:
        return bool(self._unsent) or self._events_in_flight >= MAX_EVENTS_IN_FLIGHT

    async def _read(self) -> bool:
        """Whether the outbox has no more rows than were read."""
        if self._is_full or self._poisoned is not None:
            return True
        room = (MAX_EVENTS_IN_FLIGHT - self._events_in_flight) // self._largest_row_events
        limit = max(1, min(MAX_ROWS_PER_READ, room))
        rows = await self._lease.read(self._read_to, limit)
        if rows:
            self._read_to = rows[-1].number
            self._largest_row_events = max(1, *(row.event_count for row in rows))
            self._unsent.extend(rows)
        return len(rows) < limit

    async def _send(self) -> None:
        while self._unsent and self._poisoned is None and self._events_in_flight < MAX_EVENTS_IN_FLIGHT:
            numbers: list[int] = []
            events: list[Event] = []
            while self._unsent and len(events) < CHUNK_EVENTS:
                row = self._unsent[0]
                try:
                    events += decode_events(row, self._journal_id)
                except MalformedOutboxRow as error:
                    self._stop_before(error)
                    break
                numbers.append(row.number)
                self._unsent.popleft()
            if self._poisoned is None:
                self._meters.poisoned(0)
            if numbers:
                # Tasks start in the order they are made, so publish is called in the order of the numbers.
                publishing = asyncio.get_running_loop().create_task(self._publisher.publish(events))
                publishing.add_done_callback(self._finished)
                # Not the events themselves: the publisher lets them go when the client has copied them.
                self._in_flight.append(_Chunk(numbers, Counter(map(_topic_of, events)), publishing))
                self._events_in_flight += len(events)
                # It goes to Kafka while the next is decoded, not when all of them are.
                await asyncio.sleep(0)

    def _finished(self, publishing: asyncio.Task[None]) -> None:
        if not publishing.cancelled() and self._failure is None:
            self._failure = publishing.exception()
        self._something_finished.set()

    async def _wait(self, limit_s: float) -> None:
        """Until a chunk is finished, at most `limit_s`."""
        try:
            async with asyncio.timeout(limit_s):
                await self._something_finished.wait()
        except TimeoutError:
            return
        self._something_finished.clear()

    async def _delete_acknowledged(self) -> None:
        """Deletes from the front only: the lowest row that is left is where a successor must start."""
        numbers: list[int] = []
        while self._in_flight and _is_acknowledged(self._in_flight[0].publishing):
            chunk = self._in_flight.popleft()
            self._events_in_flight -= chunk.events_by_topic.total()
            self._meters.published(chunk.events_by_topic)
            numbers += chunk.numbers
        if numbers:
            await self._lease.delete(numbers)
            self.made_progress = True
            self._meters.deleted(len(numbers))
        if self._failure is not None:
            raise self._failure

    def _stop_before(self, error: MalformedOutboxRow) -> None:
        """Nothing above an unreadable row is published: which keys it holds is unknown, and a later event of one of
        them would go before it; consumers drop what comes below the position they have seen, so repairing the row
        could not bring its events back. Orders are still accepted meanwhile; the backlog and this alarm grow until
        the row is repaired, and nothing is lost.
        """
        self._poisoned = error.number
        self._meters.poisoned(1)
        structlog.get_logger().error("outbox_row_poisoned", number=error.number, error=str(error))

    def _look_again_at_poisoned(self) -> None:
        assert self._poisoned is not None
        self._read_to = self._poisoned - 1
        self._unsent.clear()
        self._poisoned = None

    async def _abandon(self) -> None:
        for chunk in self._in_flight:
            chunk.publishing.cancel()
        await asyncio.gather(*(chunk.publishing for chunk in self._in_flight), return_exceptions=True)


def _is_acknowledged(publishing: asyncio.Task[None]) -> bool:
    return publishing.done() and not publishing.cancelled() and publishing.exception() is None


async def _pause(stopping: asyncio.Event, limit_s: float) -> None:
    """At most `limit_s`; ends at once when `stopping` is set."""
    try:
        async with asyncio.timeout(limit_s):
            await stopping.wait()
    except TimeoutError:
        return
