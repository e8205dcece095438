"""A topic in memory whose slots move while it is written: for tests of those who read it."""

from collections.abc import Mapping
from random import Random
from uuid import UUID

from sluice.seams.event_log import Event, LoggedEvent, Position
from sluice.slot_map import PublishedMap, Seats, SlotMap, first_maps
from sluice.slot_plan import grown, left_partitions
from sluice.slots import SLOT_COUNT, slot_of

TOPIC = "t"
JOURNALS = (UUID(int=1), UUID(int=2))
KEYS = tuple(f"key-{n}" for n in range(10))


class MovingLog:
    """Two journals write to one topic, each places by maps of its own."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.partitions: dict[int, list[LoggedEvent]] = {n: [] for n in range(2)}
        self.maps = {journal: [first_maps({TOPIC: 2})[TOPIC]] for journal in JOURNALS}
        self.published = [PublishedMap(journal, maps[0]) for journal, maps in self.maps.items()]
        self.numbers = dict.fromkeys(JOURNALS, 0)
        self.written: dict[tuple[UUID, str], list[int]] = {(j, key): [] for j in JOURNALS for key in KEYS}
        self.committed: Mapping[int, int] | None = None
        """Of the group, when there is one."""
        self.unseen = set(JOURNALS)
        """Whose move had begun before the group came, and does not wait for it."""

    def write(self) -> None:
        journal, key = self.random.choice(JOURNALS), self.random.choice(KEYS)
        self.numbers[journal] += 1
        self.written[journal, key].append(self.numbers[journal])
        self.append(journal, key, self.numbers[journal])

    def append(self, journal: UUID, key: str, number: int) -> None:
        in_force = [each for each in self.maps[journal] if each.first_number <= number][-1]
        partition = in_force.seats[slot_of(key)]
        log = self.partitions[partition]
        event = Event(TOPIC, key, b"", f"{key}/{number}", "test", 0, Position(journal, number, 0))
        log.append(LoggedEvent(event, partition, len(log)))

    def repeat(self) -> None:
        """A zombie sends what it had, in its old place."""
        journal, key = self.random.choice(JOURNALS), self.random.choice(KEYS)
        for number in self.written[journal, key][-self.random.randrange(1, 4) :]:
            self.append(journal, key, number)

    def move(self) -> None:
        """Grows, or moves some slots to and fro."""
        journal = self.random.choice(JOURNALS)
        before = self.maps[journal][-1].seats
        counts = [count for count in (4, 8) if count > max(before) + 1]
        after = grown(before, counts[0]) if counts and self.random.random() < 0.3 else self.shuffled(before)
        for partition in range(max(after) + 1):
            self.partitions.setdefault(partition, [])
        left_at = {partition: len(self.partitions[partition]) for partition in left_partitions(before, after)}
        if self.committed is not None and journal not in self.unseen:
            if any(end > self.committed.get(partition, 0) for partition, end in left_at.items()):
                return
        elif self.committed is not None:
            self.unseen.remove(journal)
        moved = SlotMap(TOPIC, len(self.maps[journal]), self.numbers[journal] + 1, after, left_at)
        self.maps[journal].append(moved)
        self.published.append(PublishedMap(journal, moved))

    def shuffled(self, seats: Seats) -> Seats:
        after = list(seats)
        for slot in [slot_of(key) for key in self.random.sample(KEYS, 3)] + [self.random.randrange(SLOT_COUNT)]:
            after[slot] = self.random.randrange(max(seats) + 1)
        return tuple(after)

    def happen(self) -> None:
        """Something of all this."""
        self.random.choice((*[self.write] * 20, self.repeat, self.move))()
