"""Many events in one call, repeats in none, and marks that say exactly what is done."""

import asyncio
from collections.abc import Sequence

from consumers.runtime.records import START, Mark, Partition, Progress
from sluice.seams.event_log import LoggedEvent
from tests.unit.consumer_runtime.parts import JOURNAL, TOPIC, Member, MemoryDeadLetters, MemoryLog, event, until
from tests.unit.virtual_time import in_virtual_time

P0 = Partition(TOPIC, 0)


@in_virtual_time
async def test_what_gathers_while_a_call_runs_is_one_call() -> None:
    calls: list[list[str]] = []

    async def handle(events: Sequence[LoggedEvent]) -> None:
        calls.append([each.event.event_id for each in events])
        await asyncio.sleep(1.0)

    log = MemoryLog(1)
    member = Member(log, handle, MemoryDeadLetters(), lanes=1)
    await member.start()
    await member.assign_all()
    for number in range(1, 101):
        log.append(0, event(f"key-{number % 7}", number))
        member.feed()
        if number == 1:
            await asyncio.sleep(0.1)
    await until(lambda: member.lanes.in_flight == 0)
    assert [len(call) for call in calls] == [1, 99]
    assert member.value("events_handled_total") == 100
    assert member.value("calls_total") == 2
    await member.crash()


@in_virtual_time
async def test_a_call_gets_no_more_than_its_consumer_takes() -> None:
    calls: list[list[str]] = []

    async def handle(events: Sequence[LoggedEvent]) -> None:
        calls.append([each.event.event_id for each in events])

    log = MemoryLog(1)
    events = [event("key", number) for number in range(1, 101)]
    for each in events:
        log.append(0, each)
    member = Member(log, handle, MemoryDeadLetters(), lanes=1, per_call=30)
    await member.start()
    await member.assign_all()
    member.feed()
    await until(lambda: member.lanes.in_flight == 0)
    assert [len(call) for call in calls] == [30, 30, 30, 10]
    assert [event_id for call in calls for event_id in call] == [each.event_id for each in events]
    await member.crash()


@in_virtual_time
async def test_lanes_run_side_by_side() -> None:
    """A 2 ms sink, one event a call at most per key: 64 keys over 16 lanes take a fraction of the time in a row."""

    async def handle(events: Sequence[LoggedEvent]) -> None:
        await asyncio.sleep(0.002 * len(events))

    log = MemoryLog(1)
    for number in range(1, 321):
        log.append(0, event(f"key-{number % 64}", number))
    member = Member(log, handle, MemoryDeadLetters(), lanes=16)
    await member.start()
    await member.assign_all()
    begin = asyncio.get_running_loop().time()
    member.feed()
    await until(lambda: member.lanes.in_flight == 0)
    took = asyncio.get_running_loop().time() - begin
    assert took < 0.64 / 5
    await member.crash()


@in_virtual_time
async def test_repeats_are_dropped_also_after_a_restart() -> None:
    handled: list[str] = []

    async def handle(events: Sequence[LoggedEvent]) -> None:
        handled.extend(each.event.event_id for each in events)

    log = MemoryLog(1)
    for number in (1, 2, 1, 2, 3):
        log.append(0, event("a", number))
    member = Member(log, handle, MemoryDeadLetters())
    await member.start()
    await member.assign_all()
    member.feed()
    await until(lambda: member.lanes.in_flight == 0)
    assert handled == ["a/1", "a/2", "a/3"]
    assert member.value("repeats_dropped_total") == 2
    marks = member.lanes.marks()
    assert marks == {P0: Mark(5, {JOURNAL: (3, 0)})}
    await member.crash()
    for number in (2, 3, 4):  # a zombie relay
        log.append(0, event("a", number))
    successor = Member(log, handle, MemoryDeadLetters())
    await successor.start()
    await successor.assign(marks)
    successor.feed()
    await until(lambda: successor.lanes.in_flight == 0)
    assert handled == ["a/1", "a/2", "a/3", "a/4"]
    await successor.crash()


def test_a_mark_never_passes_what_is_not_finished() -> None:
    progress = Progress(P0, START)
    works = [progress.admit(LoggedEvent(event("a", number), 0, 10 * number)) for number in (1, 2, 3)]
    first, second, third = (work for work in works if work is not None)
    second.finished = third.finished = True
    progress.advance()
    assert progress.mark == START
    first.finished = True
    progress.advance()
    # Offsets have gaps (transactions, compaction): the next one after what was received.
    assert progress.mark == Mark(31, {JOURNAL: (3, 0)})
