"""Slot maps: the first one is the Java client's default; packing and publishing lose nothing."""

import json
from uuid import uuid4

import pytest

from sluice.slot_map import SlotMap, first_maps, first_seats, pack, published_form, unpack, used_partitions
from sluice.slots import SLOT_COUNT, slot_of

# org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own UtilsTest.testMurmur2.
JAVA_MURMUR2 = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}


@pytest.mark.parametrize("partitions", [1, 8, 16, 64])
@pytest.mark.parametrize(("key", "murmur2"), JAVA_MURMUR2.items())
def test_at_epoch_0_a_key_is_where_the_java_client_puts_it(key: str, murmur2: int, partitions: int) -> None:
    # As org.apache.kafka.clients.producer.internals.BuiltInPartitioner does: toPositive(murmur2(key)) % partitions.
    assert first_maps({"t": partitions})["t"].seats[slot_of(key)] == (murmur2 & 0x7FFFFFFF) % partitions


def test_a_count_that_does_not_divide_the_slots_has_no_first_map() -> None:
    with pytest.raises(ValueError, match="12"):
        first_seats(12)


def test_seats_survive_packing() -> None:
    seats = tuple((slot * 7) % 4096 for slot in range(SLOT_COUNT))
    assert unpack(pack(seats)) == seats
    assert len(pack(seats)) == 8192
    assert used_partitions(seats) == 4096


def test_a_published_map_says_all_that_it_says_in_the_journal() -> None:
    journal = uuid4()
    key, value = published_form(SlotMap("t", 3, 17, first_seats(8), {1: 5}), journal)
    assert key == f"{journal}/t/3"
    read = json.loads(value)
    assert read["seats"] == list(first_seats(8))
    assert (read["journal"], read["topic"], read["epoch"], read["first_number"]) == (str(journal), "t", 3, 17)
    assert read["left_at"] == {"1": 5}
