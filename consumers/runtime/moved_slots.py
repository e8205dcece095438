"""Slots that have moved, for a group that reads the log as it was before: what is in a slot's new place waits until the
group is past what is in its old one.

Whoever was there when slots moved need not wait: the move waited for the group. A group that begins to read later, or
goes back, finds old and new places side by side.

A record must wait if it was placed by a map by which slots came to its partition, until the group has finished the
partitions that they left up to where these ended then. Whole partitions wait, from the first record that must:
they are not fetched meanwhile, so what waits takes no room from what it waits for. They never wait in a circle:
everything below such an end was on the log before the record that waits for it.

Maps get onto the log before the first record that is placed by them. So a record in a place where no known map puts it
says that there are newer ones, and it is time enough to look then: a move that has not seen the group is one that began
before it came, and there is one at a time; every later one waits for it.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import structlog

from consumers.runtime.records import Partition, Record, Unreadable
from sluice.errors import LogUnreachable
from sluice.seams.event_log import LoggedEvent
from sluice.slot_map import PublishedMap, Seats, SlotMap
from sluice.slots import slot_of

_log = structlog.get_logger(__name__)

ReadMaps = Callable[[], Iterable[PublishedMap]]
"""What was published since the last call. Raises LogUnreachable."""


class _Gate(NamedTuple):
    """Records of a partition with a number from `first_number` on wait until `left` is finished up to `end`."""

    first_number: int
    left: Partition
    end: int


class _Maps:
    """Of one journal and topic, by epoch."""

    def __init__(self) -> None:
        self._maps: dict[int, SlotMap] = {}
        self._by_epoch: Sequence[SlotMap] = ()
        self._first_numbers: Sequence[int] = ()
        self._last_number = 0
        self._last_seats: Seats | None = None
        self._closed: dict[int, list[_Gate]] = {}
        self.foreign = False
        """Somebody places records of this journal and topic by other maps than those on the log."""

    def learn(self, maps: Iterable[SlotMap]) -> None:
        """Closes all gates: what is behind them must be looked at again."""
        self.foreign = False
        self._maps |= {each.epoch: each for each in maps}
        self._by_epoch = [self._maps[epoch] for epoch in sorted(self._maps)]
        self._first_numbers = [each.first_number for each in self._by_epoch]
        self._last_number, self._last_seats = self._first_numbers[-1], self._by_epoch[-1].seats
        self._closed = {}
        for before, after in zip(self._by_epoch, self._by_epoch[1:], strict=False):
            came_from = {(new, old) for old, new in zip(before.seats, after.seats, strict=True) if old != new}
            ends: dict[int, dict[Partition, int]] = {}
            for new, old in came_from:
                awaited = ends.setdefault(new, {})
                # Perhaps nothing that waited was ever put where the slot is leaving now: what that place waits for, the
                # next one waits for too.
                for gate in self._closed.get(old, ()):
                    awaited[gate.left] = max(gate.end, awaited.get(gate.left, 0))
                left = Partition(after.topic, old)
                awaited[left] = max(after.left_at.get(old, 0), awaited.get(left, 0))
            for new, awaited in ends.items():
                gates = [_Gate(after.first_number, left, end) for left, end in awaited.items() if left.number != new]
                self._closed.setdefault(new, []).extend(gates)

    def puts(self, key: str, partition: int, number: int) -> bool:
        """Whether a known map puts it there."""
        seats = self._last_seats if number >= self._last_number else self._seats_of(number)
        return seats is not None and seats[slot_of(key)] == partition

    def _seats_of(self, number: int) -> Seats | None:
        epoch = bisect_right(self._first_numbers, number) - 1
        return self._by_epoch[epoch].seats if epoch >= 0 else None

    def closed(self, partition: int, number: int) -> Sequence[_Gate]:
        """What a record there, with that number, waits for."""
        gates = self._closed.get(partition)
        return [gate for gate in gates if number >= gate.first_number] if gates else ()

    def open(self, finished: Mapping[Partition, int]) -> None:
        self._closed = {
            partition: still
            for partition, gates in self._closed.items()
            if (still := [gate for gate in gates if finished.get(gate.left, 0) < gate.end])
        }


class MovedSlots:
    """Between the log and the lanes: what comes goes through `sort_out`, what waited comes out of `look_again`."""

    def __init__(self, read_maps: ReadMaps) -> None:
        self._read_maps = read_maps
        self._maps: dict[tuple[UUID, str], _Maps] = {}
        self._last: tuple[UUID, str, _Maps] | None = None
        """Those of the last record: looking them up again costs more than all else here."""
        self._waiting: dict[Partition, list[Record]] = {}

    @property
    def waiting(self) -> frozenset[Partition]:
        """Partitions of which nothing more should be fetched."""
        return frozenset(self._waiting)

    @property
    def awaited(self) -> Mapping[Partition, int]:
        """What is waited for: partitions that the group must have finished up to these offsets."""
        ends: dict[Partition, int] = {}
        for partition, records in self._waiting.items():
            for gate in self._closed(partition, records[0]):
                ends[gate.left] = max(ends.get(gate.left, 0), gate.end)
        return ends

    def sort_out(self, records: Iterable[Record]) -> list[Record]:
        """Those that may be handled now, in order. The others are kept."""
        ready = []
        for record in records:
            if not self._waiting and self._goes_plainly(record):
                ready.append(record)
                continue
            partition = _partition_of(record)
            if (waiting := self._waiting.get(partition)) is not None:
                waiting.append(record)
            elif self._may_go(partition, record):
                ready.append(record)
            else:
                self._waiting[partition] = [record]
        return ready

    def look_again(self, finished: Mapping[Partition, int]) -> list[Record]:
        """What need not wait any more, now that the group has finished so much."""
        for maps in self._maps.values():
            maps.open(finished)
        waiting, self._waiting = self._waiting, {}
        return self.sort_out(record for records in waiting.values() for record in records)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """They are somebody else's now. Whoever has them next reads again what waited."""
        for partition in partitions:
            self._waiting.pop(partition, None)

    def _goes_plainly(self, record: Record) -> bool:
        """What is true of nearly every record, found out fast."""
        if isinstance(record, Unreadable):
            return True
        event, partition, _ = record
        topic, key, _, _, _, _, (journal, number, _), _ = event
        last = self._last
        if last is None or last[0] is not journal or last[1] != topic:
            maps = self._maps.get((journal, topic))
            if maps is None:
                return False
            last = self._last = (journal, topic, maps)
        return last[2].puts(key, partition, number) and not last[2].closed(partition, number)

    def _may_go(self, partition: Partition, record: Record) -> bool:
        if isinstance(record, Unreadable):
            return True
        try:
            self._know_place(partition, record)
        except LogUnreachable as error:
            _log.warning("slot_maps_unknown", partition=partition.number, topic=partition.topic, error=str(error))
            return False
        return not self._closed(partition, record)

    def _know_place(self, partition: Partition, record: LoggedEvent) -> None:
        journal, number, _ = record.event.position
        origin = (journal, partition.topic)
        maps = self._maps.get(origin)
        if maps is not None and (maps.foreign or maps.puts(record.event.key, partition.number, number)):
            return
        new: dict[tuple[UUID, str], list[SlotMap]] = {}
        for published in self._read_maps():
            new.setdefault((published.journal, published.slot_map.topic), []).append(published.slot_map)
        for changed, slot_maps in new.items():
            self._maps.setdefault(changed, _Maps()).learn(slot_maps)
        maps = self._maps.setdefault(origin, _Maps())
        if not maps.puts(record.event.key, partition.number, number):
            _log.info("placed_by_no_known_slot_map", topic=partition.topic, partition=partition.number)
            maps.foreign = True

    def _closed(self, partition: Partition, record: Record) -> Sequence[_Gate]:
        if isinstance(record, Unreadable):
            return ()
        journal, number, _ = record.event.position
        maps = self._maps.get((journal, partition.topic))
        return maps.closed(partition.number, number) if maps is not None else ()


def _partition_of(record: Record) -> Partition:
    return Partition(record.topic if isinstance(record, Unreadable) else record.event.topic, record.partition)
