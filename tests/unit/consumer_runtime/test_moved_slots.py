"""A group that begins to read after slots have moved, or while they move unseen by whoever moves them: it handles each
key's events in order, and all of them, although old and new places stand side by side.

The log, its maps and the members are a model; what holds records back is the real thing.
"""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.runtime.moved_slots import MovedSlots
from consumers.runtime.records import Partition, Record, Unreadable
from sluice.errors import LogUnreachable
from sluice.seams.event_log import Event, LoggedEvent, Position
from sluice.slot_map import PublishedMap, Seats, SlotMap, first_maps
from sluice.slot_plan import grown
from sluice.slots import slot_of
from tests.unit.moving_log import JOURNALS, TOPIC, MovingLog

MEMBERS = 2
SEEDS_UNTIL_FOUND = 200


class Inversion(Exception):
    """A key's event was handled before its predecessor."""


class Member:
    def __init__(self, group: "Group") -> None:
        self.group = group
        self.read_to = 0
        self.moved = group.gate(self.read_maps)
        self.owned: set[int] = set()
        self.fetched: dict[int, int] = {}
        self.queue: list[LoggedEvent] = []

    def read_maps(self) -> Iterable[PublishedMap]:
        if self.group.random.random() < 0.1:
            raise LogUnreachable("away")
        new = self.group.log.published[self.read_to :]
        self.read_to += len(new)
        return new

    def fetch(self) -> None:
        """A list over several partitions, none of those that wait."""
        records: list[Record] = []
        for partition in self.owned:
            if Partition(TOPIC, partition) not in self.moved.waiting:
                at = self.fetched[partition]
                records += (some := self.group.log.partitions[partition][at : at + self.group.random.randrange(4)])
                self.fetched[partition] += len(some)
        self.feed(self.moved.sort_out(records))

    def look(self) -> None:
        finished = {left: self.group.committed.get(left.number, 0) for left in self.moved.awaited}
        self.feed(self.moved.look_again(finished))

    def feed(self, records: Sequence[Record]) -> None:
        self.queue += [record for record in records if isinstance(record, LoggedEvent)]

    def handle(self) -> None:
        """Lanes run beside each other: any record that is the first of its key in the queue."""
        if not self.queue:
            return
        chosen = self.group.random.choice(self.queue)
        first = next(each for each in self.queue if each.event.key == chosen.event.key)
        self.queue.remove(first)
        self.group.handle(first)


class Group:
    def __init__(self, log: MovingLog, random: Random, gate: type[MovedSlots]) -> None:
        self.log = log
        self.random = random
        self.gate = gate
        self.done: dict[int, set[int]] = {}
        self.committed: dict[int, int] = {}
        log.committed = self.committed
        self.seen: dict[tuple[UUID, str], int] = {}
        self.members = [Member(self) for _ in range(MEMBERS)]
        self.spread()

    def spread(self) -> None:
        """Partitions go to whoever; what was not committed is read again."""
        for member in self.members:
            member.moved.forget([Partition(TOPIC, partition) for partition in member.owned])
            member.owned, member.queue = set(), []
        for partition in self.log.partitions:
            owner = self.random.choice(self.members)
            owner.owned.add(partition)
            owner.fetched[partition] = self.committed.get(partition, 0)

    def handle(self, record: LoggedEvent) -> None:
        key = (record.event.position.journal, record.event.key)
        number = record.event.position.number
        numbers = self.log.written[key]
        at = self.seen.get(key, 0)
        if numbers.index(number) > at:
            raise Inversion(f"{record.event.event_id} after {at} of {numbers}")
        self.seen[key] = max(at, numbers.index(number) + 1)
        self.done.setdefault(record.partition, set()).add(record.offset)

    def commit(self) -> None:
        for partition, done in self.done.items():
            while self.committed.get(partition, 0) in done:
                self.committed[partition] = self.committed.get(partition, 0) + 1

    def step(self) -> None:
        member = self.random.choice(self.members)
        self.random.choice([member.fetch, member.look, member.handle, member.handle, self.commit])()


def run(random: Random, gate: type[MovedSlots] = MovedSlots) -> None:
    log = MovingLog(random)
    happen = (*[log.write] * 20, log.repeat, log.move)
    for _ in range(random.randrange(200)):
        random.choice(happen)()
    group = Group(log, random, gate)
    for _ in range(300):
        random.choice([group.step] * 6 + [*happen])()
        if random.random() < 0.03:
            group.spread()
    group.spread()  # so that new partitions have an owner
    for _ in range(20_000):
        group.step()
        group.commit()
        if all(group.committed.get(partition, 0) == len(records) for partition, records in log.partitions.items()):
            break
    else:
        raise AssertionError(f"it stands still at {group.committed}")
    assert {key: group.seen.get(key, 0) for key in log.written} == {k: len(v) for k, v in log.written.items()}


@given(st.integers(min_value=0))
@settings(max_examples=60)
def test_each_keys_events_are_handled_in_order_and_all_of_them(seed: int) -> None:
    run(Random(seed))


class NothingWaits(MovedSlots):
    def sort_out(self, records: Iterable[Record]) -> list[Record]:
        return list(records)


class MapsAreReadOnceOnly(MovedSlots):
    """As if a group that knows the maps of its first moment knew enough."""

    def __init__(self, read_maps: object) -> None:
        known = [*read_maps.__self__.group.log.published]  # type: ignore[attr-defined]
        super().__init__(lambda: [known.pop(0) for _ in range(len(known))])


@pytest.mark.parametrize("careless", [NothingWaits, MapsAreReadOnceOnly])
def test_without_holding_back_and_without_newer_maps_the_model_shows_an_inversion(careless: type[MovedSlots]) -> None:
    def look() -> None:
        for seed in range(SEEDS_UNTIL_FOUND):
            run(Random(seed), careless)

    with pytest.raises(Inversion):
        look()


JOURNAL = JOURNALS[0]


def logged(key: str, number: int, partition: int, offset: int = 0) -> LoggedEvent:
    event = Event(TOPIC, key, b"", f"{key}/{number}", "test", 0, Position(JOURNAL, number, 0))
    return LoggedEvent(event, partition, offset)


def a_key_of(slots: Mapping[int, int] | Seats, partition: int, before: int) -> str:
    first = first_maps({TOPIC: 2})[TOPIC].seats
    names = (f"name-{n}" for n in range(1_000))
    return next(name for name in names if slots[slot_of(name)] == partition and first[slot_of(name)] == before)


def test_only_the_partition_waits_that_slots_came_to_and_what_is_awaited_is_said() -> None:
    first = first_maps({TOPIC: 2})[TOPIC]
    second = SlotMap(TOPIC, 1, 10, grown(first.seats, 4), {0: 7, 1: 9})
    looks: list[int] = []

    def read_maps() -> Iterable[PublishedMap]:
        looks.append(1)
        return [PublishedMap(JOURNAL, each) for each in (first, second)] if len(looks) == 1 else []

    moved = MovedSlots(read_maps)
    came, stayed = a_key_of(second.seats, 2, 0), a_key_of(second.seats, 0, 0)
    waits, goes = logged(came, 10, 2), logged(stayed, 11, 0)
    unreadable = Unreadable(TOPIC, 2, 1, None, None, (), "no header")
    assert moved.sort_out([waits, goes, unreadable]) == [goes]
    assert moved.waiting == {Partition(TOPIC, 2)}
    assert moved.awaited == {Partition(TOPIC, 0): 7}
    assert moved.look_again({Partition(TOPIC, 0): 6}) == []
    assert moved.look_again({Partition(TOPIC, 0): 7}) == [waits, unreadable]
    assert moved.waiting == frozenset()
    assert moved.sort_out([logged(came, 12, 2, 2)]) == [logged(came, 12, 2, 2)]
    assert looks == [1]


def test_who_places_by_maps_that_nobody_published_is_left_alone_and_not_looked_for_again() -> None:
    looks: list[int] = []

    def read_maps() -> Iterable[PublishedMap]:
        looks.append(1)
        return []

    moved = MovedSlots(read_maps)
    records = [logged("a", number, 1, number) for number in range(5)]
    assert moved.sort_out(records) == records
    assert looks == [1]


def test_what_cannot_be_known_yet_waits() -> None:
    away = [True]

    def read_maps() -> Iterable[PublishedMap]:
        if away[0]:
            raise LogUnreachable("away")
        return []

    moved = MovedSlots(read_maps)
    assert moved.sort_out([logged("a", 1, 0)]) == []
    assert moved.look_again({}) == []
    away[0] = False
    assert moved.look_again({}) == [logged("a", 1, 0)]
