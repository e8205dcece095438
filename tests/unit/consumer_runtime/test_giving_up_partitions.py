"""A partition that is taken away: what is being handled ends first, what was not begun is left to the next owner."""

import asyncio
from collections.abc import Sequence

from consumers.runtime.records import Partition
from sluice.seams.event_log import LoggedEvent
from tests.unit.consumer_runtime.parts import TOPIC, Member, MemoryDeadLetters, MemoryLog, event
from tests.unit.virtual_time import clock, in_virtual_time, let_run

P0, P1 = Partition(TOPIC, 0), Partition(TOPIC, 1)


class Slow:
    def __init__(self, call_s: float) -> None:
        self.call_s = call_s
        self.begun: list[str] = []
        self.handled: list[str] = []

    async def handle(self, events: Sequence[LoggedEvent]) -> None:
        self.begun += [each.event.event_id for each in events]
        await asyncio.sleep(self.call_s)
        self.handled += [each.event.event_id for each in events]


async def busy(slow: Slow) -> tuple[MemoryLog, Member]:
    """A member in the middle of a call for the first event of each of two partitions, with more waiting."""
    log = MemoryLog(2)
    member = Member(log, slow.handle, MemoryDeadLetters(), lanes=1)
    await member.start()
    await member.assign_all()
    log.append(0, event("a", 1))
    log.append(1, event("b", 2))
    member.feed()
    await let_run()
    log.append(0, event("a", 3))
    log.append(1, event("b", 4))
    member.feed()
    return log, member


@in_virtual_time
async def test_what_is_being_handled_is_finished_and_counted() -> None:
    slow = Slow(2.0)
    _, member = await busy(slow)
    marks = await member.revoke([P0], limit_s=5.0)
    assert slow.handled == ["a/1", "b/2"]
    assert marks[P0].offset == 1
    await asyncio.sleep(10)
    assert slow.handled == ["a/1", "b/2", "b/4"]  # the other partition goes on, this one does not
    assert member.lanes.marks()[P1].offset == 2
    await member.crash()


@in_virtual_time
async def test_a_call_that_takes_too_long_is_cancelled_and_not_counted() -> None:
    slow = Slow(60.0)
    _, member = await busy(slow)
    begin = clock()
    marks = await member.revoke([P0], limit_s=5.0)
    assert clock() - begin < 6.0
    assert marks[P0].offset is None
    slow.call_s = 0.1
    await asyncio.sleep(10)
    assert slow.handled == ["b/2", "b/4"]  # what was cancelled along with it is tried again
    await member.crash()


@in_virtual_time
async def test_partitions_that_are_lost_are_dropped_at_once() -> None:
    slow = Slow(2.0)
    _, member = await busy(slow)
    member.next.pop(P0)
    member.lanes.lose([P0])
    await asyncio.sleep(10)
    assert slow.handled == ["b/2", "b/4"]
    assert P0 not in member.lanes.marks()
    await member.crash()


@in_virtual_time
async def test_room_is_free_again() -> None:
    slow = Slow(60.0)
    _, member = await busy(slow)
    assert member.lanes.in_flight == 4
    await member.revoke([P0], limit_s=1.0)
    assert member.lanes.in_flight == 2
    await member.crash()
    assert member.lanes.in_flight == 0
