"""Moves slots of a topic to other partitions without putting two events of a key out of order.

The relay numbers outbox rows and publishes them in that order, each placed by the map that its number belongs to. So
the move is this: give no numbers for a moment; wait until all that has a number is on the log; note where the
partitions end; wait until every consumer group has finished what is before that; put the next map into force; go on
numbering.

Why no key's events change places: those before the switch are in their old partition below its noted end, and every
group has committed past it, which says that they are finished. Those after it get to the log only then. It takes
neither markers among the events nor anything of consumers but that they commit what they have finished.

Orders are accepted throughout: their rows wait in the outbox, for `pause_s` at most. If the groups do not make it in
that time the pause ends, nothing has changed, and another try is made. Whatever dies, a pause ends by itself, and a
switch that comes late finds that numbers were given and does nothing: time decides how soon, never whether it is right.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from journal.slot_maps import SlotMaps
from sluice.slot_map import Seats, used_partitions
from sluice.slot_plan import left_partitions

POLL_S = 0.05
"""Between looks at what is waited for."""

RETRY_S = 1.0
"""After a try that ran out of time, so that what waited in the outbox gets through first."""


class GroupBehind(NamedTuple):
    """A consumer group that has not finished `events` events below the offsets that were asked for."""

    group: str
    events: int


class TopicPartitions(Protocol):
    """What the move needs of Kafka, for one topic. Every method raises LogUnreachable."""

    async def make(self, partitions: int) -> None:
        """Adds partitions until there are so many; harmless to repeat."""
        ...

    async def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """One past the last record of each partition."""
        ...

    async def groups_without(self, partitions: int) -> Sequence[str]:
        """Groups with members, to none of which some of the first `partitions` partitions are given yet."""
        ...

    async def behind(self, ends: Mapping[int, int]) -> Sequence[GroupBehind]:
        """Groups that read the topic and have not committed up to these offsets."""
        ...


class Step(NamedTuple):
    """What a move is doing, for whoever watches: `name` of STEPS, and what it waits for."""

    name: str
    waiting_for: str


STEPS = {
    "partitions": "adds partitions",
    "consumers": "gives consumers the new partitions",
    "rehearsal": "looks how soon what is there is finished",
    "drain": "pauses: empties the outbox",
    "groups": "pauses: lets consumers finish",
    "switch": "puts the next map into force",
}
"""Their names, in order, and what happens. A try that runs out of time goes back to the rehearsal."""

Tell = Callable[[Step], None]


class MoveAborted(Exception):
    """Somebody aborted the move; nothing has changed."""


async def move_slots(
    slot_maps: SlotMaps,
    topic: str,
    seats: Seats,
    partitions: TopicPartitions,
    tell: Tell,
    *,
    pause_s: float,
    without: Collection[str] = (),
) -> None:
    """Until `seats` are in force. May be broken off anywhere and begun again: the same call goes on.

    Groups in `without` are not waited for: they may see events of a key out of order around the switch.
    Raises AnotherMoveUnderWay, MoveAborted, JournalUnreachable, LogUnreachable.
    """
    before = (await slot_maps.in_force())[topic].seats
    if before == seats:
        return
    await slot_maps.plan(topic, seats)
    left = left_partitions(before, seats)
    await _Move(slot_maps, topic, seats, left, partitions, tell, pause_s, without).go()


class _Move(NamedTuple):
    slot_maps: SlotMaps
    topic: str
    seats: Seats
    left: Sequence[int]
    """The partitions that slots leave."""
    partitions: TopicPartitions
    tell: Tell
    pause_s: float
    without: Collection[str]

    async def go(self) -> None:
        await self._make_partitions()
        while await self._is_under_way():
            await self._rehearse()
            await self._try()

    async def _is_under_way(self) -> bool:
        """False if the seats are in force. That is looked at, because the answer of a switch may be lost, and because
        somebody else may have gone on with the same move.
        """
        if self.topic in await self.slot_maps.planned():
            return True
        if (await self.slot_maps.in_force())[self.topic].seats == self.seats:
            return False
        raise MoveAborted(f"the move of {self.topic} was aborted")

    async def _make_partitions(self) -> None:
        """Nothing is written to them before the switch, so whoever begins to read them misses nothing."""
        self.tell(Step("partitions", ""))
        wanted = used_partitions(self.seats)
        await self.partitions.make(wanted)
        while waiting := [each for each in await self.partitions.groups_without(wanted) if each not in self.without]:
            self.tell(Step("consumers", f"{', '.join(waiting)} to take the new partitions"))
            if not await self._is_under_way():
                return
            await asyncio.sleep(POLL_S)

    async def _rehearse(self) -> None:
        """Until what is in the outbox and on the log at one moment is finished by the groups within half a pause. One
        that cannot succeed would delay events for nothing; one on top of what the last one has dammed up would delay
        that again. What a mover before this one has left of a pause is ended first.
        """
        await self.slot_maps.resume_numbering()
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            newest = await self.slot_maps.newest_row()
            while rows := await self.slot_maps.unfinished_rows(newest):
                self.tell(Step("rehearsal", f"{rows} outbox rows to be on Kafka"))
                if not await self._is_under_way():
                    return
                await asyncio.sleep(POLL_S)
            ends = await self.partitions.ends(self.left)
            while behind := await self._behind(ends):
                self.tell(Step("rehearsal", behind))
                if not await self._is_under_way():
                    return
                await asyncio.sleep(POLL_S)
            if loop.time() - began <= self.pause_s / 2:
                return

    async def _try(self) -> None:
        """One pause, with the switch at its end if all is done in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.pause_s):
                last_number = await self.slot_maps.pause_numbering(self.pause_s)
                while rows := await self.slot_maps.unfinished(last_number):
                    self.tell(Step("drain", f"{rows} outbox rows to be on Kafka"))
                    await asyncio.sleep(POLL_S)
                ends = await self.partitions.ends(self.left)
                while behind := await self._behind(ends):
                    self.tell(Step("groups", behind))
                    await asyncio.sleep(POLL_S)
                self.tell(Step("switch", ""))
                await self.slot_maps.switch(self.topic, last_number, ends)
                return
        await self.slot_maps.resume_numbering()
        await asyncio.sleep(RETRY_S)

    async def _behind(self, ends: Mapping[int, int]) -> str:
        """Who has not finished what is before these offsets, as text; empty if all have."""
        behind = [each for each in await self.partitions.behind(ends) if each.group not in self.without]
        return ", ".join(f"{each.group}: {each.events} events" for each in behind)
