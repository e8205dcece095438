"""Lanes: ordered sequences of work. A key is always in the same lane, so its events are handled in order; lanes run
side by side, and each hands its handler as much as has gathered while the call before it ran.

Knows nothing of Kafka: records are fed, marks are asked for, partitions are given and taken. Everything here runs on
one event loop, and time is the loop's.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Self

import structlog

from consumers.runtime.breaker import Breaker
from consumers.runtime.dead_letters import FOLLOWED, MAX_ERROR_CHARS, Letter, Note, NoteKind, Parking
from consumers.runtime.handling import AWAY, EVENTS_PER_CALL, Handler, Poison
from consumers.runtime.meters import ConsumerMeters
from consumers.runtime.records import Mark, Partition, Progress, Record, Unreadable, Work
from sluice.seams.event_log import LoggedEvent
from sluice.slots import slot_of

CALL_LIMIT_S = 60.0
"""A call that takes longer counts as failed: a handler that waits for ever would stop its lane without a sign."""

ATTEMPTS = 5
"""Of one event alone, before it is poison. Only those count between which other events succeeded."""

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 5.0
"""Between attempts of one event, doubling: most causes are over within a second."""

CANCEL_LIMIT_S = 1.0
"""For a cancelled handler to end."""

_log = structlog.get_logger(__name__)

_Key = tuple[str, str]
"""(topic, key)"""


class _Held:
    """A key whose first event failed alone: it is tried again, what comes after it waits here."""

    __slots__ = ("attempts", "due", "retry_s", "successes_before", "works")

    def __init__(self, work: Work, due: float, successes_before: int) -> None:
        self.works = deque([work])
        self.attempts = 1
        self.retry_s = FIRST_RETRY_S
        self.due = due
        self.successes_before = successes_before


class _Lane:
    __slots__ = ("busy_with", "calling", "held", "queue", "replays", "something")

    def __init__(self) -> None:
        self.queue: deque[Work] = deque()
        self.held: dict[_Key, _Held] = {}
        self.replays: dict[_Key, Progress] = {}
        self.something = asyncio.Event()
        self.calling: asyncio.Task[None] | None = None
        self.busy_with: Sequence[Progress] = ()


class Lanes:
    """`lanes` sequences of calls of `handle`. Use as `async with`."""

    def __init__(
        self,
        consumer: str,
        handle: Handler,
        parking: Parking,
        meters: ConsumerMeters,
        *,
        lanes: int,
        now_ms: Callable[[], int],
        events_per_call: int = EVENTS_PER_CALL,
    ) -> None:
        self._consumer = consumer
        self._handle = handle
        self._parking = parking
        self._meters = meters
        self._now_ms = now_ms
        self._per_call = events_per_call
        self._breaker = Breaker(consumer)
        self._lanes = [_Lane() for _ in range(lanes)]
        self._progress: dict[Partition, Progress] = {}
        self._successes = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.on_room: Callable[[], None] = lambda: None
        """Called when something was finished."""
        meters.watch(
            in_flight=lambda: self.in_flight,
            held=lambda: sum(len(lane.held) for lane in self._lanes),
            parked=lambda: parking.parked,
            away=lambda: self._breaker.open,
            partitions=lambda: len(self._progress),
        )

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run(lane)) for lane in self._lanes]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        """Records received and not passed by their partition's mark. May be read from another thread."""
        return sum(progress.in_flight for progress in list(self._progress.values()))

    @property
    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """They end only with a defect."""
        return self._tasks

    # Partitions come and go.

    async def assign(self, starts: Mapping[Partition, Mark]) -> None:
        """Takes partitions on, each from its mark. Raises LogUnreachable while the dead letters cannot be read: who
        does not know the parked keys must not begin.
        """
        await self._parking.catch_up()
        for partition, start in starts.items():
            self._progress[partition] = Progress(partition, start)

    async def revoke(self, partitions: Iterable[Partition], limit_s: float) -> Mapping[Partition, Mark]:
        """Gives partitions up: what is being handled is finished within `limit_s` or cancelled, the rest is dropped.
        Their last marks: nothing above them has been or will be handled here.
        """
        leaving = [self._progress.pop(each) for each in partitions if each in self._progress]
        self._drop(leaving)
        gone = set(leaving)
        calls = [lane.calling for lane in self._lanes if lane.calling and not gone.isdisjoint(lane.busy_with)]
        if calls:
            _, running = await asyncio.wait(calls, timeout=limit_s)
            for call in running:
                call.cancel()
            if running:
                _log.warning("handler_cancelled", consumer=self._consumer, calls=len(running), limit_s=limit_s)
                await asyncio.wait(running, timeout=CANCEL_LIMIT_S)
        marks = {}
        for progress in leaving:
            progress.advance()
            marks[progress.partition] = progress.mark
        return marks

    def lose(self, partitions: Iterable[Partition]) -> None:
        """Partitions that are somebody else's already: whatever is being handled is stopped, nothing is committed."""
        leaving = [self._progress.pop(each) for each in partitions if each in self._progress]
        self._drop(leaving)
        gone = set(leaving)
        for lane in self._lanes:
            if lane.calling and not gone.isdisjoint(lane.busy_with):
                lane.calling.cancel()

    def _drop(self, leaving: Sequence[Progress]) -> None:
        for progress in leaving:
            progress.given_up = True
        for lane in self._lanes:
            lane.something.set()
        self.on_room()

    def marks(self) -> Mapping[Partition, Mark]:
        return {partition: progress.mark for partition, progress in self._progress.items()}

    # Records come in.

    def feed(self, records: Iterable[Record]) -> None:
        """In the order of their partitions' logs. Records of partitions that were given up are dropped."""
        lanes = self._lanes
        count = len(lanes)
        repeats = 0
        # A list has long runs of one partition, and of one hot SKU: they are looked up once for each run.
        last: Partition | None = None
        progress: Progress | None = None
        last_key: str | None = None
        lane = lanes[0]
        for record in records:
            topic = record.topic if isinstance(record, Unreadable) else record.event.topic
            if last is None or last.number != record.partition or last.topic != topic:
                last = Partition(topic, record.partition)
                progress = self._progress.get(last)
            if progress is None:
                continue
            work = progress.admit(record)
            if work is None:
                repeats += 1
                continue
            if work.key != last_key:
                last_key = work.key
                lane = lanes[slot_of(last_key) % count]
            lane.queue.append(work)
            lane.something.set()
        if repeats:
            self._meters.repeated(repeats)

    async def look_at_dead_letters(self) -> None:
        """Learns what others noted, and starts the replays that are wanted of keys that are here. Raises
        LogUnreachable.
        """
        await self._parking.catch_up()
        for partition, key in self._parking.wanted_replays():
            progress = self._progress.get(partition)
            if progress is not None:
                lane = self._lanes[slot_of(key) % len(self._lanes)]
                lane.replays[partition.topic, key] = progress
                lane.something.set()

    # One lane.

    async def _run(self, lane: _Lane) -> None:
        while True:
            await self._wait(lane)
            if lane.queue:
                await self._deal(lane, _take(lane.queue, self._per_call))
            for key in [key for key, held in lane.held.items() if held.due <= _time()]:
                await self._retry(lane, key)
            for key in list(lane.replays):
                await self._replay(lane, key)

    async def _wait(self, lane: _Lane) -> None:
        """Until there is something to do: new records, a replay, or a held key that is due."""
        if lane.queue or lane.replays:
            return
        lane.something.clear()
        due = min((held.due for held in lane.held.values()), default=None)
        try:
            async with asyncio.timeout_at(due):
                await lane.something.wait()
        except TimeoutError:
            return

    async def _deal(self, lane: _Lane, works: Sequence[Work]) -> None:
        """Finishes the works, or holds them back, in order per key."""
        rest = await self._sort_out(lane, works)
        error = await self._try(lane, rest, self._call)
        if error is None:
            return
        if len(rest) > 1:
            middle = len(rest) // 2
            await self._deal(lane, rest[:middle])
            await self._deal(lane, rest[middle:])
        elif isinstance(error, Poison):
            await self._bury(lane, rest, type(error).__name__, str(error), 1)
        else:
            work = rest[0]
            _log.warning("event_failed", consumer=self._consumer, key=work.key, error=repr(error))
            held = _Held(work, _time() + FIRST_RETRY_S, self._successes)
            lane.held[work.progress.partition.topic, work.key] = held

    async def _sort_out(self, lane: _Lane, works: Sequence[Work]) -> list[Work]:
        """Those that the handler may see now. The others wait behind a held key, or go where their key is parked."""
        parked: list[Work] = []
        rest: list[Work] = []
        # As it nearly always is; then no key is looked up.
        no_key_waits = not lane.held and not self._parking.parked
        for work in works:
            if work.progress.given_up:
                continue
            if no_key_waits and not isinstance(work.record, Unreadable):
                rest.append(work)
                continue
            topic_and_key = (work.progress.partition.topic, work.key)
            if (held := lane.held.get(topic_and_key)) is not None:
                held.works.append(work)
            elif self._parking.is_parked(*topic_and_key):
                parked.append(work)
            elif isinstance(work.record, Unreadable):
                await self._bury(lane, [work], "UnreadableRecord", work.record.reason, 0)
                no_key_waits = False
            else:
                rest.append(work)
        await self._bury(lane, parked, FOLLOWED, "", 0)
        return rest

    async def _retry(self, lane: _Lane, key: _Key) -> None:
        held = lane.held[key]
        while held.works and held.works[0].progress.given_up:
            held.works.popleft()
        if not held.works:
            del lane.held[key]
            return
        first = held.works[0]
        error = await self._try(lane, [first], self._call)
        if error is None:
            await self._release(lane, key)
            return
        if self._successes != held.successes_before:
            held.attempts += 1
            held.successes_before = self._successes
        if isinstance(error, Poison) or held.attempts >= ATTEMPTS:
            await self._bury(lane, [first], type(error).__name__, str(error), held.attempts)
            await self._release(lane, key)
            return
        held.retry_s = min(2 * held.retry_s, LONGEST_RETRY_S)
        held.due = _time() + held.retry_s

    async def _release(self, lane: _Lane, key: _Key) -> None:
        """The first of a held key is finished: what waited behind it is dealt with, before anything newer."""
        held = lane.held.pop(key)
        held.works.popleft()
        waiting = list(held.works)
        for start in range(0, len(waiting), self._per_call):
            await self._deal(lane, waiting[start : start + self._per_call])

    async def _replay(self, lane: _Lane, key: _Key) -> None:
        """Hands a parked key's letters to the handler, in order."""
        progress = lane.replays[key]
        if not progress.given_up:
            error = await self._try_for(lane, [progress], partial(self._handle_letters, key))
            if error is not None:
                note = Note(NoteKind.REPLAY_FAILED, key[1], -1, repr(error)[:MAX_ERROR_CHARS], self._now_ms())
                await self._try_for(lane, [progress], partial(self._parking.note, key[0], note))
        del lane.replays[key]

    async def _handle_letters(self, key: _Key) -> None:
        letters = await self._parking.letters(*key)
        events: list[LoggedEvent] = []
        for _, letter in letters:
            if isinstance(letter.record, Unreadable):
                raise Poison(letter.record.reason)
            # A letter may have been written twice, by an owner that lost the partition meanwhile.
            if not events or letter.record.event.position > events[-1].event.position:
                events.append(letter.record)
        for start in range(0, len(events), self._per_call):
            await self._handle(events[start : start + self._per_call])
        if letters:
            through = letters[-1][0]
            await self._parking.note(key[0], Note(NoteKind.SETTLED, key[1], through, "", self._now_ms()))
            _log.info("dead_letters_replayed", consumer=self._consumer, key=key[1], letters=len(letters))

    # One call.

    async def _call(self, works: Sequence[Work]) -> None:
        events = [work.record for work in works if isinstance(work.record, LoggedEvent)]
        await self._handle(events)
        self._successes += 1
        self._finish(works)
        self._meters.handled(len(events), (self._now_ms() - events[-1].event.time_ms) / 1000)

    async def _bury(
        self, lane: _Lane, works: Sequence[Work], error_type: str, error_message: str, attempts: int
    ) -> None:
        if works and error_type != FOLLOWED:
            _log.error(
                "dead_letter",
                consumer=self._consumer,
                topic=works[0].progress.partition.topic,
                partition=works[0].progress.partition.number,
                offset=works[0].record.offset,
                key=works[0].key,
                error=f"{error_type}: {error_message}",
            )
        by_topic: dict[str, list[Work]] = {}
        for work in works:
            by_topic.setdefault(work.progress.partition.topic, []).append(work)
        for topic, of_topic in by_topic.items():

            async def append(writing: Sequence[Work], topic: str = topic) -> None:
                time_ms = self._now_ms()
                message = error_message[:MAX_ERROR_CHARS]
                letters = [Letter(work.record, work.key, error_type, message, attempts, time_ms) for work in writing]
                await self._parking.bury(topic, letters)
                self._finish(writing)
                self._meters.buried(len(letters))

            await self._try(lane, of_topic, append)

    def _finish(self, works: Sequence[Work]) -> None:
        for work in works:
            work.finished = True
        for progress in {work.progress for work in works}:
            progress.advance()
        self.on_room()

    async def _try(
        self, lane: _Lane, works: Sequence[Work], do: Callable[[Sequence[Work]], Awaitable[None]]
    ) -> Exception | None:
        """Does it for those works whose partitions are still here; see `_try_for`."""
        partitions = list({work.progress for work in works})
        while kept := [work for work in works if not (work.progress.given_up or work.finished)]:
            interrupted = await self._once(lane, partitions, partial(do, kept))
            if interrupted is None or isinstance(interrupted, Exception):
                return interrupted
        return None

    async def _try_for(
        self, lane: _Lane, partitions: Sequence[Progress], do: Callable[[], Awaitable[None]]
    ) -> Exception | None:
        """Does it, again and again while something that it needs is away, until it is done or fails otherwise: that
        is returned. Ends without doing it when the partitions are given up.
        """
        while not all(progress.given_up for progress in partitions):
            outcome = await self._once(lane, partitions, do)
            if outcome is None or isinstance(outcome, Exception):
                return outcome
        return None

    async def _once(
        self, lane: _Lane, partitions: Sequence[Progress], do: Callable[[], Awaitable[None]]
    ) -> "Exception | _Again | None":
        async with self._breaker.turn():
            if all(progress.given_up for progress in partitions):
                return AGAIN
            lane.busy_with = partitions
            call = lane.calling = asyncio.create_task(_limited(do))
            try:
                await asyncio.wait([call])
            finally:
                lane.calling = None
                lane.busy_with = ()
                if not call.done():
                    call.cancel()
            if call.cancelled():
                return AGAIN
            error = call.exception()
            if error is None:
                self._breaker.answered()
                return None
            self._meters.failed()
            if isinstance(error, AWAY):
                self._breaker.away(f"{type(error).__name__}: {error}")
                return AGAIN
            if not isinstance(error, Exception):
                raise error
            self._breaker.answered()
            return error


class _Again:
    """It did not happen, for no fault of its own."""


AGAIN = _Again()


async def _limited(do: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(CALL_LIMIT_S):
        await do()


def _take(queue: deque[Work], most: int) -> list[Work]:
    if len(queue) <= most:
        taken = list(queue)
        queue.clear()
        return taken
    return [queue.popleft() for _ in range(most)]


def _time() -> float:
    return asyncio.get_running_loop().time()
