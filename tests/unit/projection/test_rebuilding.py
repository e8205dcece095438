"""Whatever happens while it is rebuilt, and whatever was wrong before: the projection is what the log says (I8).

Consumers go on, are overtaken and fall behind; the store fails; rebuilds are broken off, run two at once, and are so
slow that consumers call the hand-over off.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers import rebuilding
from consumers.projection import HAND_OVER_LIMIT_S, Projection
from consumers.rebuilding import HandOverFailed, Overtaken, Rebuilt, rebuild
from sluice.errors import StoreUnreachable
from sluice.seams.event_log import LoggedEvent
from sluice.seams.stock_projection import FIRST_GENERATION, SkuState
from tests.unit.projection.parts import JOURNAL, Memory, logged
from tests.unit.projection.test_any_history import some_log, true_states


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "RETRY_PAUSE_S", 0)
    monkeypatch.setattr(rebuilding, "CAUGHT_UP_EVENTS", 3)


class GrowingLog:
    def __init__(self, events: Sequence[LoggedEvent], visible: int) -> None:
        self.events = events
        self.visible = visible


class Reading:
    """See LogReading."""

    total = None

    def __init__(self, log: GrowingLog, random: Random) -> None:
        self.log = log
        self.random = random
        self.at = 0

    async def to_end(self) -> AsyncIterator[Sequence[LoggedEvent]]:
        end = self.log.visible
        while self.at < end:
            some = self.log.events[self.at : min(end, self.at + self.random.randrange(1, 9))]
            self.at += len(some)
            await asyncio.sleep(0)
            yield some


class Group:
    """Consumers of one partition. Only the newest one's commits count."""

    def __init__(self, log: GrowingLog, memory: Memory, random: Random) -> None:
        self.log = log
        self.memory = memory
        self.random = random
        self.committed = 0
        self.newest = 0
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += self.random.choice([0, 0, HAND_OVER_LIMIT_S / 5])
        return self.now

    async def member(self, name: int, *, to_the_end: bool = False) -> None:
        projection = Projection(self.memory, monotonic=self.monotonic, sleep=lambda _: asyncio.sleep(0))
        at = self.committed
        while not to_the_end or at < len(self.log.events):
            events = self.log.events[at : min(self.log.visible, at + self.random.randrange(1, 8))]
            while True:
                with suppress(StoreUnreachable):
                    await projection.handle(events)
                    break
            at += len(events)
            if name == self.newest and self.random.random() < 0.7:
                self.committed = at


def generation(random: Random) -> UUID:
    return UUID(int=random.getrandbits(128))


class Turmoil:
    """A log that grows, consumers and rebuilds, and whatever may go wrong, one step at a time."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.events = some_log(random)
        self.memory = Memory()
        self.memory.gated, self.memory.random = True, random
        self.log = GrowingLog(self.events, random.randrange(len(self.events)))
        self.group = Group(self.log, self.memory, random)
        self.members = [asyncio.create_task(self.group.member(0))]
        self.rebuilds: list[asyncio.Task[Rebuilt]] = []

    def rebuild(self) -> Coroutine[Any, Any, Rebuilt]:
        return rebuild(self.memory, Reading(self.log, self.random), generation(self.random), lambda _: None)

    def something_was_wrong_before(self) -> None:
        key, position, time_ms = self.events[0].event.key, self.events[0].event.position, self.events[0].event.time_ms
        self.memory.keep(FIRST_GENERATION, SkuState(key, position.journal, *position[1:], 999, 1, time_ms))

    def step(self) -> None:
        perhaps = self.random.random
        self.log.visible = min(len(self.events), self.log.visible + (perhaps() < 0.1))
        if perhaps() < 0.01:
            self.group.newest += 1
            self.members.append(asyncio.create_task(self.group.member(self.group.newest)))
        if all(each.done() for each in self.rebuilds) or perhaps() < 0.005:
            self.rebuilds.append(asyncio.create_task(self.rebuild()))
        if perhaps() < 0.01:
            self.random.choice(self.rebuilds).cancel()
        self._let_one_through()

    def _let_one_through(self) -> None:
        memory = self.memory
        if memory.late and self.random.random() < 0.1:
            memory.keep(*memory.late.pop(self.random.randrange(len(memory.late))))
        if memory.waiting:
            gate = memory.waiting.pop(self.random.randrange(len(memory.waiting)))
            if gate.done():  # its caller was cancelled
                return
            if self.random.random() < 0.05:
                gate.set_exception(StoreUnreachable("away", outcome_unknown=True))
            else:
                gate.set_result(None)

    async def end(self) -> None:
        """All die where they are; what they did not get back keeps nobody."""
        for task in [*self.members, *self.rebuilds]:
            task.cancel()
        self.memory.gated = False
        outcomes = await asyncio.gather(*self.rebuilds, *self.members, return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, (Rebuilt, Overtaken, HandOverFailed, asyncio.CancelledError)), outcome
        self.log.visible = len(self.events)

    async def the_last_consumer_reads_to_the_end(self) -> None:
        self.group.newest += 1
        await self.group.member(self.group.newest, to_the_end=True)


async def run(random: Random) -> None:
    turmoil = Turmoil(random)
    memory = turmoil.memory
    if random.random() < 0.5:
        turmoil.something_was_wrong_before()
    for step in range(2_000):
        await asyncio.sleep(0)
        turmoil.step()
        if step > 200 and memory.standing.live != FIRST_GENERATION:
            break
    await turmoil.end()
    if memory.standing.live == FIRST_GENERATION:  # every one was broken off
        await turmoil.rebuild()
    await turmoil.the_last_consumer_reads_to_the_end()
    live = memory.standing.live
    truth = {(live, sku, journal): states[-1] for (sku, journal), states in true_states(turmoil.events).items()}
    assert {key: state for key, state in memory.kept.items() if key[0] == live} == truth
    assert len([key for key in memory.changes if key[0] == live]) == sum(state.changes for state in truth.values())
    again = await turmoil.rebuild()
    assert (again.same, again.behind, again.differing_count) == (len(truth), 0, 0)
    assert await memory.generations() == {memory.standing.live}


@given(st.integers(min_value=0))
@settings(max_examples=150)
def test_it_is_what_the_log_says(seed: int) -> None:
    asyncio.run(run(Random(seed)))


async def test_what_was_wrong_is_named() -> None:
    memory = Memory()
    events = [logged(0, "a", -1, 1), logged(1, "a", -1, 2), logged(2, "b", -5, 3)]
    memory.keep(FIRST_GENERATION, SkuState("a", JOURNAL, 2, 0, 7, 2, 2))
    memory.keep(FIRST_GENERATION, SkuState("ghost", JOURNAL, 2, 0, 1, 1, 2))
    told: list[int] = []
    rebuilt = await rebuild(memory, Reading(GrowingLog(events, 3), Random(1)), generation(Random(2)), told.append)
    assert (rebuilt.events, rebuilt.states, rebuilt.same, rebuilt.behind) == (3, 2, 0, 1)
    wrong = {each.live.sku: each.rebuilt and each.rebuilt.sold for each in rebuilt.differing}
    assert wrong == {"a": 2, "ghost": None}
    assert told[-1] == 3


async def test_who_is_overtaken_changes_nothing() -> None:
    memory = Memory()
    log = GrowingLog([logged(0, "a", -1, 1)], 1)

    class Slow(Reading):
        async def to_end(self) -> AsyncIterator[Sequence[LoggedEvent]]:
            if self.at == 0:
                await rebuild(memory, Reading(log, Random(3)), UUID(int=2), lambda _: None)
            async for each in super().to_end():
                yield each

    with pytest.raises(Overtaken):
        await rebuild(memory, Slow(log, Random(3)), UUID(int=1), lambda _: None)
    assert memory.standing.live == UUID(int=2)
