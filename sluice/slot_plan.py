"""Which slots move when a topic grows. Pure: seats in, seats out."""

from collections.abc import Sequence

from sluice.slot_map import Seats, used_partitions
from sluice.slots import SLOT_COUNT


class CannotGrow(Exception):
    """The topic cannot be given this many partitions; the text says why."""


def grown(seats: Seats, partitions: int) -> Seats:
    """Seats over `partitions`, with as few slots moved as that takes: each new partition gets an equal share, and no
    slot moves between old ones. From a first map this is the first map of the new count, so it goes on agreeing with
    what the Java client chooses. Raises CannotGrow.
    """
    before = used_partitions(seats)
    if SLOT_COUNT % partitions:
        raise CannotGrow(
            f"{partitions} does not divide {SLOT_COUNT}: slots would be spread unevenly; take {_counts_above(before)}"
        )
    if partitions < before:
        raise CannotGrow(
            f"slots are on {before} partitions now, and Kafka cannot take partitions away: a topic never shrinks"
        )
    return tuple(
        wanted if (wanted := slot % partitions) >= before else partition for slot, partition in enumerate(seats)
    )


def moved_slots(before: Seats, after: Seats) -> Sequence[int]:
    return [slot for slot in range(SLOT_COUNT) if before[slot] != after[slot]]


def left_partitions(before: Seats, after: Seats) -> Sequence[int]:
    """The partitions that slots leave."""
    return sorted({before[slot] for slot in moved_slots(before, after)})


def _counts_above(partitions: int) -> str:
    counts = [count for count in (2**power for power in range(13)) if count > partitions]
    return ", ".join(str(count) for count in counts[:4]) or "no other: there are no more slots"
