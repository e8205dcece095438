"""A rebuild notes one partition's end after the other, while events are written and slots move: up to there it never
reads an event of a key without its predecessors.
"""

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.kafka_log_reading import consistent_ends
from tests.unit.moving_log import TOPIC, MovingLog

SEEDS_UNTIL_FOUND = 200


def noted_ends(log: MovingLog, random: Random) -> Mapping[int, int]:
    ends = {}
    for partition in list(log.partitions):
        ends[partition] = len(log.partitions[partition])
        for _ in range(random.randrange(20)):
            log.happen()
    return ends


def assert_whole(log: MovingLog, ends: Mapping[int, int]) -> None:
    numbers = {}
    for partition, end in ends.items():
        for record in log.partitions[partition][:end]:
            journal, number, _ = record.event.position
            numbers.setdefault((journal, record.event.key), set()).add(number)
    for key, read in numbers.items():
        assert sorted(read) == log.written[key][: len(read)]


def some_log(random: Random) -> MovingLog:
    log = MovingLog(random)
    for _ in range(random.randrange(100)):
        log.happen()
    return log


@given(st.integers(min_value=0))
@settings(max_examples=200)
def test_every_stretch_has_all_predecessors_of_what_it_has(seed: int) -> None:
    random = Random(seed)
    log = some_log(random)
    for _ in range(3):
        ends = noted_ends(log, random)
        maps = [each.slot_map for each in log.published if each.slot_map.topic == TOPIC]
        assert_whole(log, consistent_ends(ends, maps))


def test_without_looking_at_the_maps_the_model_shows_what_is_missing() -> None:
    def look() -> None:
        for seed in range(SEEDS_UNTIL_FOUND):
            random = Random(seed)
            log = some_log(random)
            assert_whole(log, noted_ends(log, random))

    with pytest.raises(AssertionError):
        look()
