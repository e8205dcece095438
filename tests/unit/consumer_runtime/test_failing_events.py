"""An event that fails holds up its own key and nothing else; what cannot be handled goes to the dead letters, with
what follows it.
"""

import asyncio
from collections.abc import Sequence

from consumers.runtime.dead_letters import FOLLOWED, Letter
from consumers.runtime.handling import Poison
from consumers.runtime.lanes import ATTEMPTS, LONGEST_RETRY_S
from consumers.runtime.records import Partition
from sluice.errors import StoreUnreachable
from sluice.seams.event_log import LoggedEvent
from tests.unit.consumer_runtime.parts import TOPIC, Member, MemoryDeadLetters, MemoryLog, event, handler_of, until
from tests.unit.virtual_time import in_virtual_time


class Sink:
    """Remembers what it handled; fails as it is told."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.attempts: dict[str, int] = {}
        self.handle = handler_of(self._handle)

    async def _handle(self, each: LoggedEvent) -> None:
        await asyncio.sleep(0.001)
        event_id = each.event.event_id
        self.attempts[event_id] = self.attempts.get(event_id, 0) + 1
        if event_id in self.fails:
            raise self.fails[event_id]
        if event_id not in self.handled:
            self.handled.append(event_id)


def buried(letters: MemoryDeadLetters) -> list[tuple[str, str]]:
    return [(entry.key, entry.error_type) for entry in letters.entries if isinstance(entry, Letter)]


async def started(log: MemoryLog, sink: Sink, letters: MemoryDeadLetters) -> Member:
    member = Member(log, sink.handle, letters, lanes=1)
    await member.start()
    await member.assign_all()
    member.feed()
    return member


def offset(member: Member) -> int:
    return member.lanes.marks()[Partition(TOPIC, 0)].offset or 0


@in_virtual_time
async def test_other_keys_go_on_while_an_event_is_tried_again_and_its_successors_wait() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    for number, key in enumerate(["a", "b", "a", "c", "b"], start=1):
        log.append(0, event(key, number))
    sink.fails["a/1"] = RuntimeError("busy")
    member = await started(log, sink, letters)
    await until(lambda: len(sink.handled) == 3)
    assert sink.handled == ["b/2", "c/4", "b/5"]
    assert offset(member) == 0  # nothing passes what is not finished
    assert member.value("held_keys") == 1
    del sink.fails["a/1"]
    await until(lambda: offset(member) == 5)
    assert sink.handled[3:] == ["a/1", "a/3"]
    assert letters.entries == []
    await member.crash()


@in_virtual_time
async def test_an_event_that_fails_while_others_succeed_is_a_dead_letter_and_its_key_is_parked() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    sink.fails["a/1"] = RuntimeError("cannot")
    log.append(0, event("a", 1))
    member = await started(log, sink, letters)
    number = 1
    while not letters.entries:
        number += 1
        log.append(0, event("b", number))
        member.feed()
        await asyncio.sleep(LONGEST_RETRY_S)
    assert sink.attempts["a/1"] >= ATTEMPTS
    log.append(0, event("a", number + 1))
    log.append(0, event("c", number + 2))
    member.feed()
    await until(lambda: offset(member) == number + 2)
    assert buried(letters) == [("a", "RuntimeError"), ("a", FOLLOWED)]
    assert f"a/{number + 1}" not in sink.attempts
    assert f"c/{number + 2}" in sink.handled
    assert member.value("parked_keys") == 1
    await member.crash()


@in_virtual_time
async def test_nothing_is_a_dead_letter_while_everything_fails() -> None:
    """Whatever the error says: an event among others that fail too is not the cause."""
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    for number, key in enumerate("abcdef", start=1):
        log.append(0, event(key, number))
        sink.fails[f"{key}/{number}"] = RuntimeError("disk full")
    member = await started(log, sink, letters)
    await asyncio.sleep(600)
    assert letters.entries == []
    sink.fails.clear()
    await until(lambda: offset(member) == 6)
    assert sorted(sink.handled) == ["a/1", "b/2", "c/3", "d/4", "e/5", "f/6"]
    await member.crash()


@in_virtual_time
async def test_while_a_dependency_is_away_one_call_at_a_time_tries() -> None:
    log, letters = MemoryLog(1), MemoryDeadLetters()
    for number in range(1, 41):
        log.append(0, event(f"key-{number}", number))
    away, calls, running, most_running = True, 0, 0, 0

    async def handle(events: Sequence[LoggedEvent]) -> None:
        nonlocal calls, running, most_running
        calls += 1
        running += 1
        if away and calls > 4:  # not counting those that were on their way when it was found away
            most_running = max(most_running, running)
        await asyncio.sleep(0.01)
        running -= 1
        if away:
            raise StoreUnreachable("told to be away")

    member = Member(log, handle, letters, lanes=4)
    await member.start()
    await member.assign_all()
    member.feed()
    await asyncio.sleep(30)
    assert member.value("dependency_away") == 1
    assert most_running == 1
    assert 8 <= calls <= 20  # 0.2 s, 0.4 s ... 5 s apart
    away = False
    await until(lambda: offset(member) == 40)
    assert letters.entries == []
    assert member.value("dependency_away") == 0
    await member.crash()


@in_virtual_time
async def test_poison_goes_at_once_and_nothing_else_of_its_batch() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    for number, key in enumerate(["a", "b", "a", "c"], start=1):
        log.append(0, event(key, number))
    sink.fails["a/1"] = Poison("no such customer")
    member = await started(log, sink, letters)
    await until(lambda: offset(member) == 4)
    assert sorted(sink.handled) == ["b/2", "c/4"]
    assert buried(letters) == [("a", "Poison"), ("a", FOLLOWED)]
    first = letters.entries[0]
    assert isinstance(first, Letter)
    assert first.error_message == "no such customer"
    await member.crash()


@in_virtual_time
async def test_a_record_that_cannot_be_read_is_a_dead_letter() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    log.append_unreadable(0, b"a")
    log.append_unreadable(0)
    log.append(0, event("b", 1))
    member = await started(log, sink, letters)
    await until(lambda: offset(member) == 3)
    assert sink.handled == ["b/1"]
    assert buried(letters) == [("a", "UnreadableRecord"), ("", "UnreadableRecord")]
    await member.crash()


@in_virtual_time
async def test_a_record_is_not_finished_before_its_dead_letter_is_durable() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    log.append(0, event("a", 1))
    sink.fails["a/1"] = Poison("bad")
    member = await started(log, sink, letters)
    letters.away = True
    await asyncio.sleep(60)
    assert offset(member) == 0
    letters.away = False
    await until(lambda: offset(member) == 1)
    assert buried(letters) == [("a", "Poison")]
    await member.crash()


@in_virtual_time
async def test_a_restart_finds_the_key_parked_and_buries_nothing_twice() -> None:
    log, sink, letters = MemoryLog(1), Sink(), MemoryDeadLetters()
    log.append(0, event("a", 1))
    log.append(0, event("a", 2))
    sink.fails["a/1"] = Poison("bad")
    member = await started(log, sink, letters)
    await until(lambda: offset(member) == 2)
    await member.crash()  # before it has committed
    del sink.fails["a/1"]
    log.append(0, event("a", 3))
    member = await started(log, sink, letters)
    await until(lambda: offset(member) == 3)
    assert sink.handled == []
    assert buried(letters) == [("a", "Poison"), ("a", FOLLOWED), ("a", FOLLOWED)]
    await member.crash()
