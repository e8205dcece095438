"""Which Kafka partition each slot of a topic is placed on, and how that changes.

Only slots move, never single keys: a map is 4,096 partitions. The first one of a topic agrees with what Kafka's Java
client chooses by default; the maps that follow move as few slots as they can.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sluice.slots import SLOT_COUNT

Seats = tuple[int, ...]
"""The partition of each slot, by slot."""

_PACKED = struct.Struct(f">{SLOT_COUNT}H")


class SlotMap(NamedTuple):
    """The seats of a topic from one outbox row on: rows with a number of at least `first_number` are placed by it,
    until the next epoch's first. `left_at`: the partitions that slots left with this epoch, and where each of them
    ended when everything below `first_number` was acknowledged.
    """

    topic: str
    epoch: int
    first_number: int
    seats: Seats
    left_at: Mapping[int, int]


def first_seats(partitions: int) -> Seats:
    """As Kafka's Java client places keys by default. `partitions` must divide SLOT_COUNT."""
    if SLOT_COUNT % partitions:
        raise ValueError(f"{partitions} does not divide {SLOT_COUNT}")
    return tuple(slot % partitions for slot in range(SLOT_COUNT))


def first_maps(partitions: Mapping[str, int]) -> Mapping[str, SlotMap]:
    """Epoch 0 of topics with so many partitions."""
    return {topic: SlotMap(topic, 0, 0, first_seats(count), {}) for topic, count in partitions.items()}


def used_partitions(seats: Seats) -> int:
    """As many as a topic must have for these seats."""
    return max(seats) + 1


def pack(seats: Seats) -> bytes:
    return _PACKED.pack(*seats)


def unpack(packed: bytes) -> Seats:
    return _PACKED.unpack(packed)


def slots_by_partition(seats: Seats) -> Mapping[int, Sequence[int]]:
    """Partitions without slots are missing."""
    slots: dict[int, list[int]] = {}
    for slot, partition in enumerate(seats):
        slots.setdefault(partition, []).append(slot)
    return slots


class PublishedMap(NamedTuple):
    journal: UUID
    slot_map: SlotMap


def published_form(slot_map: SlotMap, journal: UUID) -> tuple[str, str]:
    """Key and value of a map's record on the topic `slot-map`, for whoever wants to know where a key is."""
    value = {
        "journal": str(journal),
        "topic": slot_map.topic,
        "epoch": slot_map.epoch,
        "first_number": slot_map.first_number,
        "left_at": {str(partition): offset for partition, offset in sorted(slot_map.left_at.items())},
        "seats": slot_map.seats,
    }
    return f"{journal}/{slot_map.topic}/{slot_map.epoch}", json.dumps(value, separators=(",", ":"))


def read_published_form(value: bytes) -> PublishedMap:
    """What `published_form` made. Raises ValueError, and KeyError where something is missing."""
    fields = json.loads(value)
    left_at = {int(partition): offset for partition, offset in fields["left_at"].items()}
    seats = tuple(fields["seats"])
    return PublishedMap(
        UUID(fields["journal"]), SlotMap(fields["topic"], fields["epoch"], fields["first_number"], seats, left_at)
    )
