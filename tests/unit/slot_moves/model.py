"""A small world in which slots move: one outbox, relays that die and go on as zombies, partitions, groups that crash.

Every call of the mover is a moment in which anything else may happen, any number of times, by the toss of a coin.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from journal.slot_maps import AnotherMoveUnderWay
from relay.slot_moves import GroupBehind
from sluice.errors import JournalUnreachable, LogUnreachable
from sluice.slot_map import Seats, SlotMap, first_maps
from sluice.slots import slot_of

TOPIC = "t"
KEYS = tuple(f"key-{i}" for i in range(12))
GROUPS = ("one", "two")

FAILS = 0.01
PAUSE_ENDS = 0.15
HAS_NOT_THE_NEW_PARTITIONS = 0.1
"""How often. Most moves get to their switch, and some of these when the pause is over."""


class Inversion(Exception):
    """A group saw an event of a key before its predecessor."""


class Killed(BaseException):
    """The mover dies, here."""


class Row(NamedTuple):
    """One event: its number, its key, and which event of its key it is."""

    number: int
    key: str
    nth: int


class Relay:
    """What one relay has in memory."""

    def __init__(self, seats: Seats) -> None:
        self.seats = seats
        self.read: list[Row] = []
        self.must_learn = False


class Reader:
    """One group's place in one partition: what was handled, and what of it was committed."""

    def __init__(self) -> None:
        self.handled = self.committed = 0
        self.position = self.committed_position = 0


class World:
    """Is the SlotMaps and the TopicPartitions of the mover, too."""

    def __init__(self, random: Random, partitions: int) -> None:
        self.random = random
        self.chaos = True
        self.numbers_given = 0
        self.paused = False
        self.unnumbered: list[str] = []
        self.outbox: dict[int, Row] = {}
        self.acknowledged: set[int] = set()
        self.sold = dict.fromkeys(KEYS, 0)
        self.given = dict.fromkeys(KEYS, 0)
        self.maps = [first_maps({TOPIC: partitions})[TOPIC]]
        self.move: Seats | None = None
        self.partitions: list[list[Row]] = [[] for _ in range(partitions)]
        self.leader = Relay(self.maps[-1].seats)
        self.zombies: list[Relay] = []
        self.readers: dict[tuple[str, int], Reader] = {}
        self.seen = {group: dict.fromkeys(KEYS, 0) for group in GROUPS}

    # What happens beside the mover.

    def happen(self) -> None:
        if not self.chaos:
            self.catch_up()
            return
        happenings = (
            self.order, self.order, self.number, self.publish, self.publish, self.acknowledge, self.relay_dies,
            self.zombie_publishes, self.handle, self.handle, self.commit, self.consumer_crashes, self.pause_ends,
            self.relay_catches_up, self.consumers_catch_up,
        )  # fmt: skip
        for _ in range(self.random.randrange(12)):
            self.random.choice(happenings)()

    def catch_up(self) -> None:
        """Everybody does all that there is to do."""
        self.relay_catches_up()
        self.consumers_catch_up()

    def relay_catches_up(self) -> None:
        self.number()
        while self.leader.read or self.outbox:
            self.publish()
            self.acknowledge()

    def consumers_catch_up(self) -> None:
        places = [(group, partition) for group in GROUPS for partition in range(len(self.partitions))]
        self.random.shuffle(places)
        for group, partition in places:
            while self.handle_next(group, partition):
                pass
            self.commit_of(group, partition)

    def order(self) -> None:
        self.unnumbered.append(self.random.choice(KEYS))

    def number(self) -> None:
        if not self.paused:
            for key in self.unnumbered:
                self.numbers_given += 1
                self.given[key] += 1
                self.outbox[self.numbers_given] = Row(self.numbers_given, key, self.given[key])
            self.unnumbered.clear()
        # As the relay does: numbers, then looks at the maps, then reads.
        self.leader.seats = self.maps[-1].seats
        known = max((row.number for row in self.leader.read), default=max(self.acknowledged, default=0))
        self.leader.read += [row for number, row in sorted(self.outbox.items()) if number > known]

    def publish(self) -> None:
        if self.leader.read:
            row = self.leader.read.pop(0)
            self.write(row, self.leader.seats)
            self.acknowledged.add(row.number)

    def write(self, row: Row, seats: Seats) -> None:
        self.partitions[seats[slot_of(row.key)]].append(row)

    def acknowledge(self) -> None:
        for number in sorted(self.outbox):
            if number not in self.acknowledged:
                return
            del self.outbox[number]

    def relay_dies(self) -> None:
        """What it had handed to its client is sent all the same, some day; its successor begins at the lowest row."""
        self.zombies.append(self.leader)
        self.leader = Relay(self.maps[-1].seats)
        self.leader.read = [row for _, row in sorted(self.outbox.items())]
        self.acknowledged = {number for number in self.acknowledged if number not in self.outbox}
        self.acknowledged |= set(range(1, self.numbers_given + 1)) - self.outbox.keys()

    def zombie_publishes(self) -> None:
        if self.zombies:
            zombie = self.random.choice(self.zombies)
            if zombie.read:
                self.write(zombie.read.pop(0), zombie.seats)

    def reader(self, group: str, partition: int) -> Reader:
        return self.readers.setdefault((group, partition), Reader())

    def handle(self) -> None:
        self.handle_next(self.random.choice(GROUPS), self.random.randrange(len(self.partitions)))

    def handle_next(self, group: str, partition: int) -> bool:
        reader = self.reader(group, partition)
        if reader.handled == len(self.partitions[partition]):
            return False
        row = self.partitions[partition][reader.handled]
        reader.handled += 1
        if row.number > reader.position:
            reader.position = row.number
            if row.nth > self.seen[group][row.key] + 1:
                raise Inversion(f"{group} saw event {row.nth} of {row.key} after {self.seen[group][row.key]}")
            self.seen[group][row.key] = max(self.seen[group][row.key], row.nth)
        return True

    def commit(self) -> None:
        self.commit_of(self.random.choice(GROUPS), self.random.randrange(len(self.partitions)))

    def commit_of(self, group: str, partition: int) -> None:
        reader = self.reader(group, partition)
        reader.committed, reader.committed_position = reader.handled, reader.position

    def consumer_crashes(self) -> None:
        reader = self.reader(self.random.choice(GROUPS), self.random.randrange(len(self.partitions)))
        reader.handled, reader.position = reader.committed, reader.committed_position

    def pause_ends(self) -> None:
        if self.random.random() < PAUSE_ENDS:
            self.paused = False

    # A call of the mover: may fail before it takes effect or after, and the mover may die there.

    def before(self, failure: type[JournalUnreachable | LogUnreachable]) -> None:
        self.happen()
        self.fail(failure)

    def after(self, failure: type[JournalUnreachable | LogUnreachable]) -> None:
        self.fail(failure)
        self.happen()

    def fail(self, failure: type[JournalUnreachable | LogUnreachable]) -> None:
        if self.chaos and self.random.random() < FAILS:
            raise failure("broken")
        if self.chaos and self.random.random() < FAILS:
            raise Killed

    # The journal's part.

    async def begin(self, partitions: Mapping[str, int]) -> None:
        raise NotImplementedError

    async def history(self, topic: str) -> Sequence[SlotMap]:
        raise NotImplementedError

    async def in_force(self) -> Mapping[str, SlotMap]:
        self.before(JournalUnreachable)
        return {TOPIC: self.maps[-1]}

    async def plan(self, topic: str, seats: Seats) -> None:
        self.before(JournalUnreachable)
        if self.move is not None and self.move != seats:
            raise AnotherMoveUnderWay(topic, self.move)
        self.move = seats
        self.after(JournalUnreachable)

    async def planned(self) -> Mapping[str, Seats]:
        self.before(JournalUnreachable)
        return {} if self.move is None else {TOPIC: self.move}

    async def abort(self, _: str) -> bool:
        self.before(JournalUnreachable)
        self.paused = False
        moving, self.move = self.move is not None, None
        self.after(JournalUnreachable)
        return moving

    async def pause_numbering(self, _: float) -> int:
        self.before(JournalUnreachable)
        self.paused = True
        last = self.numbers_given
        self.after(JournalUnreachable)
        return last

    async def resume_numbering(self) -> None:
        self.before(JournalUnreachable)
        self.paused = False
        self.after(JournalUnreachable)

    async def newest_row(self) -> int:
        self.before(JournalUnreachable)
        return self.numbers_given + len(self.unnumbered)

    async def unfinished_rows(self, newest: int) -> int:
        self.before(JournalUnreachable)
        numbered = sum(number <= newest for number in self.outbox)
        return numbered + max(0, min(len(self.unnumbered), newest - self.numbers_given))

    async def unfinished(self, last_number: int) -> int:
        self.before(JournalUnreachable)
        return sum(number <= last_number for number in self.outbox)

    async def switch(self, topic: str, last_number: int, left_at: Mapping[int, int]) -> bool:
        self.before(JournalUnreachable)
        switched = self.may_switch(last_number)
        if switched and self.move is not None:
            self.maps.append(SlotMap(topic, len(self.maps), last_number + 1, self.move, left_at))
            self.move = None
            self.paused = False
        self.after(JournalUnreachable)
        return switched

    def may_switch(self, last_number: int) -> bool:
        still = self.numbers_given == last_number and not any(number <= last_number for number in self.outbox)
        return still and self.move is not None

    # Kafka's part.

    async def make(self, partitions: int) -> None:
        self.before(LogUnreachable)
        while len(self.partitions) < partitions:
            self.partitions.append([])
        self.after(LogUnreachable)

    async def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        self.before(LogUnreachable)
        return {partition: len(self.partitions[partition]) for partition in partitions}

    async def groups_without(self, _: int) -> Sequence[str]:
        self.before(LogUnreachable)
        return [group for group in GROUPS if self.chaos and self.random.random() < HAS_NOT_THE_NEW_PARTITIONS]

    async def behind(self, ends: Mapping[int, int]) -> Sequence[GroupBehind]:
        self.before(LogUnreachable)
        missing = {g: sum(max(0, end - self.reader(g, p).committed) for p, end in ends.items()) for g in GROUPS}
        return [GroupBehind(group, events) for group, events in missing.items() if events]
