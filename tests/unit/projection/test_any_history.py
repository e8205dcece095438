"""Whatever fails and however often events come, by whomever: a state is what the log says up to its position, and in
the end each SKU's state is what the whole log says.

Consumers are overtaken while they work (zombies), calls of the store fail, in part or not at all, or happen later, and
each consumer begins again from what was committed.
"""

import asyncio
from contextlib import suppress
from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.projection import Projection, fold
from sluice.errors import StoreUnreachable
from sluice.seams.event_log import LoggedEvent
from sluice.seams.stock_projection import FIRST_GENERATION, SkuState
from tests.unit.projection.parts import JOURNAL, Memory, logged

OTHER_JOURNAL = UUID(int=7)


def some_log(random: Random) -> list[LoggedEvent]:
    """Of two journals; a stretch of it stands there twice, as after a crash of a relay."""
    number = {JOURNAL: 0, OTHER_JOURNAL: 0}
    log: list[LoggedEvent] = []
    for _ in range(random.randrange(1, 25)):
        journal = random.choice(list(number))
        number[journal] += 1
        for place in range(random.randrange(1, 4)):
            sku = random.choice("ab")
            log.append(logged(len(log), sku, random.choice([-3, -1, 2]), number[journal], place, journal))
    first = random.randrange(len(log))
    repeated = log[first : first + random.randrange(5)]
    return [each._replace(offset=n) for n, each in enumerate(log[: first + 5] + repeated + log[first + 5 :])]


class Group:
    """Consumers of one partition. Only the newest one's commits count."""

    def __init__(self, log: list[LoggedEvent], memory: Memory, random: Random) -> None:
        self.log = log
        self.memory = memory
        self.random = random
        self.committed = 0
        self.newest = 0

    async def member(self, name: int) -> None:
        projection = Projection(self.memory, monotonic=lambda: 0.0)
        at = self.committed
        while at < len(self.log):
            events = self.log[at : at + self.random.randrange(1, 8)]
            # Again until it succeeds, as the lanes do while something is away.
            while True:
                with suppress(StoreUnreachable):
                    await projection.handle(events)
                    break
            at += len(events)
            if name == self.newest and self.random.random() < 0.7:
                self.committed = at


def true_states(log: list[LoggedEvent]) -> dict[tuple[str, UUID], list[SkuState]]:
    """Every state that each SKU and journal ever had."""
    states: dict[tuple[str, UUID], list[SkuState]] = {}
    for each in log:
        key = (each.event.key, each.event.position.journal)
        before = {key: states[key][-1]} if key in states else {}
        states.setdefault(key, []).extend(fold(before, [each]).states)
    return states


async def run(random: Random) -> None:
    log, memory = some_log(random), Memory()
    memory.gated, memory.random = True, random
    group = Group(log, memory, random)
    truth = true_states(log)
    members = [asyncio.create_task(group.member(0))]
    for _ in range(random.randrange(20, 200)):
        await asyncio.sleep(0)
        if random.random() < 0.05:
            group.newest += 1
            members.append(asyncio.create_task(group.member(group.newest)))
        if memory.late and random.random() < 0.2:
            memory.keep(*memory.late.pop(random.randrange(len(memory.late))))
        if memory.waiting:
            gate = memory.waiting.pop(random.randrange(len(memory.waiting)))
            if random.random() < 0.25:
                gate.set_exception(StoreUnreachable("away", outcome_unknown=True))
            else:
                gate.set_result(None)
        for (_, sku, journal), state in memory.kept.items():
            assert state in truth[sku, journal]
    for member in members:
        member.cancel()
    await asyncio.gather(*members, return_exceptions=True)
    memory.gated = False
    group.newest += 1
    await group.member(group.newest)
    while memory.late:  # what nobody expects any more
        memory.keep(*memory.late.pop())
    assert memory.kept == {(FIRST_GENERATION, sku, journal): states[-1] for (sku, journal), states in truth.items()}
    assert len(memory.changes) == sum(states[-1].changes for states in truth.values())


@given(st.integers(min_value=0))
@settings(max_examples=300)
def test_states_are_what_the_log_says(seed: int) -> None:
    asyncio.run(run(Random(seed)))
