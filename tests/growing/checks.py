"""What must be true when all is over, read from the log itself and from what consumers wrote down."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from confluent_kafka import Consumer, TopicPartition

from sluice.cloud_events import read_event
from sluice.seams.event_log import Event
from sluice.slot_map import SlotMap
from sluice.slots import slot_of

Place = tuple[int, int]
"""(number, place) of a position."""


READ_LIMIT_S = 120.0


class Record(NamedTuple):
    event: Event
    partition: int
    appended_ms: int

    @property
    def place(self) -> Place:
        return self.event.position.number, self.event.position.place

    @property
    def delay_s(self) -> float:
        return (self.appended_ms - self.event.time_ms) / 1000


def read_topic(bootstrap: str, topic: str, partitions: int) -> list[Record]:
    """Every record, of each partition in order."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "checks", "enable.auto.commit": False})
    ends = [reader.get_watermark_offsets(TopicPartition(topic, each), timeout=10)[1] for each in range(partitions)]
    reader.assign([TopicPartition(topic, each, 0) for each in range(partitions)])
    found: list[Record] = []
    deadline = time.monotonic() + READ_LIMIT_S
    while len(found) < sum(ends):
        assert time.monotonic() < deadline, f"{topic}: {len(found)} of {sum(ends)} records came"
        for message in reader.consume(5_000, 0.2):
            assert message.error() is None, message.error()
            partition = message.partition()
            assert partition is not None
            offset = message.offset()
            assert offset is not None
            event = read_event(topic, message.key(), message.value(), message.headers(), offset)
            found.append(Record(event, partition, message.timestamp()[1]))
    reader.close()
    return found


def first_occurrences(records: Sequence[Record]) -> list[Record]:
    """Without repeats, each of which must be exact and in the same partition."""
    seen: dict[Place, Record] = {}
    for record in records:
        first = seen.setdefault(record.place, record)
        assert (first.event, first.partition) == (record.event, record.partition)
    return list(seen.values())


def assert_placed_by_their_maps(records: Sequence[Record], maps: Sequence[SlotMap]) -> None:
    newest_first = sorted(maps, key=lambda each: -each.first_number)
    for record in records:
        number = record.event.position.number
        in_force = next(each for each in newest_first if each.first_number <= number)
        assert record.partition == in_force.seats[slot_of(record.event.key)], (number, in_force.epoch)


def assert_rising_in_each_partition(first: Sequence[Record]) -> None:
    """What lets a consumer drop repeats with one number per partition."""
    highest: dict[int, Place] = {}
    for record in first:
        assert record.place > highest.get(record.partition, (0, -1))
        highest[record.partition] = record.place


class Handled(NamedTuple):
    events: int
    repeats: int


def assert_handled_in_order(file: Path, wanted: Mapping[str, Sequence[Place]]) -> Handled:
    """Every event of `wanted` (by key, in order) was handled, each for the first time when all before it of its key
    were. It may have come again after that.
    """
    index = {key: {place: n for n, place in enumerate(places)} for key, places in wanted.items()}
    at: Counter[str] = Counter()
    lines = 0
    with file.open() as handled:
        for line in handled:
            key, number, place = line.split()
            n = index[key][int(number), int(place)]
            assert n <= at[key], f"{key} {number}/{place} was handled before its predecessor"
            at[key] = max(at[key], n + 1)
            lines += 1
    missing = {key: (at[key], len(places)) for key, places in wanted.items() if at[key] != len(places)}
    assert not missing, f"{len(missing)} keys were not handled to their end: {list(missing.items())[:5]}"
    events = sum(map(len, wanted.values()))
    return Handled(events, lines - events)


def by_key(records: Sequence[Record]) -> dict[str, list[Place]]:
    """Places of each key's events, in order of position."""
    found: dict[str, list[Place]] = {}
    for place, key in sorted((record.place, record.event.key) for record in records):
        found.setdefault(key, []).append(place)
    return found


def of_journal(records: Sequence[Record], journal: UUID) -> list[Record]:
    return [record for record in records if record.event.position.journal == journal]
