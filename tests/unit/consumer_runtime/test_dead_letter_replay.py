"""`sluice dlq replay` and `discard`: a parked key's letters are handled in order, or forgotten, and it goes on."""

import asyncio

from consumers.runtime.dead_letters import Note, NoteKind, read_open
from consumers.runtime.handling import Poison
from consumers.runtime.records import Partition
from tests.unit.consumer_runtime.parts import TOPIC, Member, MemoryDeadLetters, MemoryLog, event, until
from tests.unit.consumer_runtime.test_failing_events import Sink, offset, started
from tests.unit.virtual_time import in_virtual_time


def asked(kind: NoteKind, key: str, through: int = -1) -> Note:
    return Note(kind, key, through, "", 0)


async def parked(log: MemoryLog, sink: Sink, letters: MemoryDeadLetters, events: int = 3) -> Member:
    """A member with key `a` parked behind its first event."""
    for number in range(1, events + 1):
        log.append(0, event("a", number))
    sink.fails["a/1"] = Poison("bad")
    member = await started(log, sink, letters)
    await until(lambda: offset(member) == events)
    return member


@in_virtual_time
async def test_a_replay_handles_the_letters_in_order_and_the_key_goes_on() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    member = await parked(log, sink, letters)
    del sink.fails["a/1"]
    await letters.append(TOPIC, [asked(NoteKind.REPLAY, "a")])
    log.append(0, event("a", 4))
    member.feed()
    await member.lanes.look_at_dead_letters()
    await until(lambda: len(sink.handled) == 4)
    log.append(0, event("a", 5))
    member.feed()
    await until(lambda: offset(member) == 5)
    assert sink.handled == ["a/1", "a/2", "a/3", "a/4", "a/5"]
    await member.crash()


@in_virtual_time
async def test_a_replay_that_fails_leaves_the_letters_and_says_why() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    member = await parked(log, sink, letters)
    await letters.append(TOPIC, [asked(NoteKind.REPLAY, "a")])
    await member.lanes.look_at_dead_letters()
    await until(lambda: isinstance(letters.entries[-1], Note) and letters.entries[-1].kind is NoteKind.REPLAY_FAILED)
    found = (await read_open(letters, TOPIC))["a"]
    assert len(found.letters) == 3
    assert "bad" in found.error
    assert not found.replay_wanted
    assert sink.handled == []
    await member.crash()


@in_virtual_time
async def test_a_replay_that_a_crash_broke_off_is_done_by_the_next_owner() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    member = await parked(log, sink, letters)
    marks = member.lanes.marks()
    await member.crash()
    del sink.fails["a/1"]
    await letters.append(TOPIC, [asked(NoteKind.REPLAY, "a")])
    successor = Member(log, sink.handle, letters, lanes=1)
    await successor.start()
    await successor.assign(marks)
    await successor.lanes.look_at_dead_letters()
    await until(lambda: sink.handled == ["a/1", "a/2", "a/3"])
    await until(lambda: not successor.parking.is_parked(TOPIC, "a"))
    assert await read_open(letters, TOPIC) == {}
    await successor.crash()


@in_virtual_time
async def test_only_the_owner_of_the_key_replays() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    member = await parked(log, sink, letters)
    del sink.fails["a/1"]
    other = Member(log, sink.handle, letters, lanes=1)
    await other.start()
    await other.assign({Partition(TOPIC, 9): member.lanes.marks()[Partition(TOPIC, 0)]})
    await letters.append(TOPIC, [asked(NoteKind.REPLAY, "a")])
    await other.lanes.look_at_dead_letters()
    await asyncio.sleep(10)
    assert sink.handled == []
    await member.lanes.look_at_dead_letters()
    await until(lambda: sink.handled == ["a/1", "a/2", "a/3"])
    await member.crash()
    await other.crash()


@in_virtual_time
async def test_what_is_discarded_is_gone_and_what_came_later_is_not() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    member = await parked(log, sink, letters)
    await letters.append(TOPIC, [asked(NoteKind.DISCARDED, "a", through=1)])
    await member.lanes.look_at_dead_letters()
    assert (await read_open(letters, TOPIC))["a"].letters == [2]
    assert member.parking.is_parked(TOPIC, "a")
    await letters.append(TOPIC, [asked(NoteKind.DISCARDED, "a", through=2)])
    await member.lanes.look_at_dead_letters()
    log.append(0, event("a", 4))
    member.feed()
    await until(lambda: offset(member) == 4)
    assert sink.handled == ["a/4"]
    await member.crash()
