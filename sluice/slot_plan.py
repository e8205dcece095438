"""Which slots move when a topic grows, or when some of its partitions have more to do than others. Pure: seats in,
seats out.
"""

from collections.abc import Mapping, Sequence

from sluice.slot_map import Seats, used_partitions
from sluice.slots import SLOT_COUNT

GOOD_ENOUGH = 1.05
"""Load of the fullest partition, as a share of the mean, that is left alone: the next minute looks different anyway."""


WORTH_MOVING = 0.9
"""A slot with more than this share of the gap between two partitions only makes the other one the fuller."""


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


def balanced(seats: Seats, load: Mapping[int, int]) -> Seats:
    """Seats over the same partitions with the load of the fullest one brought down, and few slots moved. `load`: events
    of each slot in the same stretch of time; slots without any stay where they are.

    From the fullest to the emptiest, the slot that comes nearest to making the two equal, as long as that helps. A slot
    that is hotter than a mean partition sets the limit: it cannot be divided.
    """
    after = list(seats)
    totals = load_by_partition(seats, load)
    mean = sum(totals) / len(totals)
    while True:
        fullest = max(range(len(totals)), key=totals.__getitem__)
        emptiest = min(range(len(totals)), key=totals.__getitem__)
        gap = totals[fullest] - totals[emptiest]
        movable = [slot for slot, events in load.items() if after[slot] == fullest and 0 < events <= gap * WORTH_MOVING]
        if totals[fullest] <= mean * GOOD_ENOUGH or not movable:
            return tuple(after)
        slot = min(movable, key=lambda slot: (abs(2 * load[slot] - gap), slot))
        after[slot] = emptiest
        totals[fullest] -= load[slot]
        totals[emptiest] += load[slot]


def load_by_partition(seats: Seats, load: Mapping[int, int]) -> list[int]:
    """Events of each partition, by partition."""
    totals = [0] * used_partitions(seats)
    for slot, events in load.items():
        totals[seats[slot]] += events
    return totals


def moved_slots(before: Seats, after: Seats) -> Sequence[int]:
    return [slot for slot in range(SLOT_COUNT) if before[slot] != after[slot]]


def left_partitions(before: Seats, after: Seats) -> Sequence[int]:
    """The partitions that slots leave."""
    return sorted({before[slot] for slot in moved_slots(before, after)})


def _counts_above(partitions: int) -> str:
    counts = [count for count in (2**power for power in range(13)) if count > partitions]
    return ", ".join(str(count) for count in counts[:4]) or "no other: there are no more slots"
