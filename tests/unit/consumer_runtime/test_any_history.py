"""Whatever happens to consumers and to what they need: every event is handled, a key's events in order, and without a
crash none twice.

A log with exact repeats, as a relay that was killed leaves them, and any number of members that come, go, die, are cut
off from their partitions, and whose handler is slow, fails now and then, or needs something that is away.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumers.runtime.dead_letters import FOLLOWED, Letter
from consumers.runtime.handling import Poison
from consumers.runtime.records import START, Mark, Partition
from sluice.errors import JournalUnreachable
from sluice.seams.event_log import Event, LoggedEvent
from sluice.slots import slot_of
from tests.unit.consumer_runtime.parts import Member, MemoryDeadLetters, MemoryLog, event, until
from tests.unit.virtual_time import VirtualTimeLoop, let_run

T = TypeVar("T")

PARTITIONS = 2
KEYS = [f"key-{n}" for n in range(4)]
"""Two for each partition; two of them share a lane."""


class AnyHistory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.log = MemoryLog(PARTITIONS)
        self.letters = MemoryDeadLetters()
        self.written: dict[str, list[Event]] = {key: [] for key in KEYS}
        self.repeatable: list[tuple[int, Event]] = []
        self.number = 0
        self.handled: list[tuple[Member, LoggedEvent]] = []
        self.members: list[Member] = []
        self.committed: dict[Partition, Mark] = dict.fromkeys(self.log.partitions, START)
        self.poisoned: set[str] = set()
        self.failing: dict[str, int] = {}
        self.away = False
        self.call_s = 0.0
        self.crashed = False
        self.behind_unfinished: set[str] = set()
        """Handled when their partition changed hands, although one before them was not."""
        self._run(self._join)

    def _run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(function())

    async def _handle(self, member: Member, events: Sequence[LoggedEvent]) -> None:
        assert events
        if self.call_s:
            await asyncio.sleep(self.call_s)
        if self.away:
            raise JournalUnreachable("told to be away")
        for each in events:
            if each.event.event_id in self.poisoned:
                raise Poison("told to be poison")
            if self.failing.get(each.event.event_id, 0):
                self.failing[each.event.event_id] -= 1
                raise RuntimeError("told to fail")
        self.handled += [(member, each) for each in events]

    async def _join(self) -> None:
        member: Member

        async def handle(events: Sequence[LoggedEvent]) -> None:
            await self._handle(member, events)

        member = Member(self.log, handle, self.letters, lanes=3)
        await member.start()
        self.members.append(member)
        await self._spread()

    async def _spread(self) -> None:
        """Every partition to one member, as a group does it: first everything that moves is given up."""
        wanted = {partition: self.members[n % len(self.members)] for n, partition in enumerate(self.log.partitions)}
        for member in self.members:
            leaving = [partition for partition in member.next if wanted[partition] is not member]
            self._hand_over(await member.revoke(leaving, limit_s=0.5))
        for partition, member in wanted.items():
            if partition not in member.next:
                await member.assign({partition: self.committed[partition]})

    def _hand_over(self, marks: Mapping[Partition, Mark]) -> None:
        self.committed |= marks
        handled = {each.event.event_id for _, each in self.handled}
        for partition, mark in marks.items():
            above = [each.event.event_id for each in self.log.partitions[partition][mark.offset or 0 :]]  # type: ignore[union-attr]
            if above and above[0] not in handled:
                self.behind_unfinished |= handled.intersection(above)

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=8), place=st.booleans())
    def write(self, keys: list[str], place: bool) -> None:
        """One outbox row, or one row each."""
        for n, key in enumerate(keys):
            if n == 0 or not place:
                self.number += 1
            written = event(key, self.number, n)._replace(event_id=f"{key}/{len(self.written[key])}")
            self.written[key].append(written)
            partition = slot_of(key) % PARTITIONS
            self.repeatable.append((partition, written))
            self.log.append(partition, written)

    @rule(last=st.integers(1, 10))
    def repeat(self, last: int) -> None:
        """The relay was killed: what it had not deleted is published again, in the same order."""
        for partition, written in self.repeatable[-last:]:
            self.log.append(partition, written)

    @rule(most=st.integers(1, 6))
    def feed(self, most: int) -> None:
        async def feed() -> None:
            for member in self.members:
                member.feed(most)
            await let_run()

        self._run(feed)

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0]))
    def wait(self, seconds: float) -> None:
        self._run(lambda: asyncio.sleep(seconds))

    @rule()
    def commit(self) -> None:
        for member in self.members:
            self.committed |= member.lanes.marks()

    @precondition(lambda self: len(self.members) < 3)
    @rule()
    def join(self) -> None:
        self._run(self._join)

    @precondition(lambda self: len(self.members) > 1)
    @rule(which=st.integers(0, 5))
    def leave(self, which: int) -> None:
        async def leave() -> None:
            member = self.members.pop(which % len(self.members))
            self._hand_over(await member.revoke(list(member.next), limit_s=0.5))
            await member.crash()
            await self._spread()

        self._run(leave)

    @rule(which=st.integers(0, 5))
    def crash(self, which: int) -> None:
        async def crash() -> None:
            await self.members.pop(which % len(self.members)).crash()
            if not self.members:
                await self._join()
            await self._spread()

        self.crashed = True
        self._run(crash)

    @rule(slow=st.sampled_from([0.0, 0.1, 3.0]))
    def be_slow(self, slow: float) -> None:
        """3 s is longer than a revocation waits: the call is cancelled."""
        self.call_s = slow

    @rule(away=st.booleans())
    def go_away(self, away: bool) -> None:
        self.away = away

    @rule(key=st.sampled_from(KEYS), times=st.integers(1, 4))
    def fail_next(self, key: str, times: int) -> None:
        self.failing[self._next_of(key)] = times

    @rule(key=st.sampled_from(KEYS))
    def poison_next(self, key: str) -> None:
        self.poisoned.add(self._next_of(key))

    def _next_of(self, key: str) -> str:
        return f"{key}/{len(self.written[key])}"

    @invariant()
    def in_order(self) -> None:
        """A consumer that remembers each key's last event sees the next one next, whatever repeats it gets."""
        at: dict[str, int] = dict.fromkeys(KEYS, 0)
        for _, each in self.handled:
            key = each.event.key
            place = self.written[key].index(each.event)
            assert place <= at[key], f"{each.event.event_id} was handled before its predecessor"
            at[key] = max(at[key], place + 1)

    @invariant()
    def nothing_twice(self) -> None:
        """Members that come, go and are slow repeat nothing but what was handled behind an event that was not. A crash
        repeats what was not committed.
        """
        if not self.crashed:
            ids = [each.event.event_id for _, each in self.handled if each.event.event_id not in self.behind_unfinished]
            assert len(ids) == len(set(ids))

    def teardown(self) -> None:
        self._run(self._end)
        self.runner.close()

    async def _end(self) -> None:
        """Healed: everything is handled, or is a dead letter behind a poisoned one; and the marks are at the end."""
        self.away = False
        self.call_s = 0.0
        for member in self.members:
            member.feed()
        logged = {partition: len(log) for partition, log in self.log.partitions.items()}
        await until(
            lambda: all(
                (mark.offset or 0) == logged[partition]
                for member in self.members
                for partition, mark in member.lanes.marks().items()
            )
        )
        self.in_order()
        letters = [entry for entry in self.letters.entries if isinstance(entry, Letter)]
        for key, written in self.written.items():
            handled = {each.event.event_id for _, each in self.handled if each.event.key == key}
            buried = [letter for letter in letters if letter.key == key]
            ids = [each.event_id for each in written]
            first_poison = next((n for n, each in enumerate(ids) if each in self.poisoned), len(ids))
            assert handled == set(ids[:first_poison])
            assert [letter.record.event.event_id for letter in buried] == ids[first_poison:]
            assert [letter.error_type for letter in buried[:1]] in ([], ["Poison"])
            assert all(letter.error_type == FOLLOWED for letter in buried[1:])
        for member in self.members:
            await member.crash()


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40)
