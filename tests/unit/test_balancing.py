"""A plan that moves hot slots: it takes load off the fullest partition, never adds to it, and leaves the rest alone."""

import random

from hypothesis import given
from hypothesis import strategies as st

from sluice.slot_map import first_seats
from sluice.slot_plan import GOOD_ENOUGH, WORTH_MOVING, balanced, load_by_partition, moved_slots
from sluice.slots import SLOT_COUNT

PARTITIONS = st.sampled_from([1, 2, 8, 64])
LOADS = st.dictionaries(st.integers(0, SLOT_COUNT - 1), st.integers(1, 1_000), min_size=1, max_size=200)


@given(PARTITIONS, LOADS)
def test_the_fullest_partition_gets_no_fuller_and_nothing_is_left_to_gain(
    partitions: int, load: dict[int, int]
) -> None:
    before = first_seats(partitions)
    after = balanced(before, load)
    totals_before, totals = load_by_partition(before, load), load_by_partition(after, load)
    assert sum(totals) == sum(totals_before)
    assert max(totals) <= max(totals_before)
    assert set(moved_slots(before, after)) <= load.keys()
    if max(totals) > GOOD_ENOUGH * sum(totals) / partitions:
        fullest = totals.index(max(totals))
        gap = max(totals) - min(totals)
        assert all(load[slot] > gap * WORTH_MOVING for slot in load if after[slot] == fullest)
    assert balanced(after, load) == after


def test_of_a_zipf_load_only_a_few_slots_move() -> None:
    chance = random.Random(1)
    slots = chance.sample(range(SLOT_COUNT), 1_000)
    load = {slot: 100_000 // (rank + 10) for rank, slot in enumerate(slots)}
    before = first_seats(16)
    after = balanced(before, load)
    mean = sum(load.values()) / 16
    assert max(load_by_partition(before, load)) > 1.3 * mean
    assert max(load_by_partition(after, load)) <= GOOD_ENOUGH * mean
    assert len(moved_slots(before, after)) < 60


def test_a_key_that_is_hotter_than_all_others_together_gets_a_partition_of_its_own() -> None:
    load = {0: 1_000, 4: 50, 8: 50, 1: 10, 2: 10, 3: 10}
    after = balanced(first_seats(4), load)
    assert max(load_by_partition(after, load)) == 1_000
    assert [slot for slot in load if after[slot] == after[0]] == [0]
