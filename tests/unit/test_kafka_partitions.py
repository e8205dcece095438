"""A key's partition is the one that Kafka's Java default partitioner chooses, so that other clients agree."""

import pytest

from sluice.slots import SLOT_COUNT, slot_of

# org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own UtilsTest.testMurmur2.
JAVA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("partitions", [1, 2, 16, 64, 4096])
@pytest.mark.parametrize(("key", "murmur2"), JAVA_MURMUR2.items())
def test_the_slot_modulo_the_partitions_is_javas_partition(key: str, murmur2: int, partitions: int) -> None:
    java_partition = (murmur2 & 0x7FFFFFFF) % partitions
    assert SLOT_COUNT % partitions == 0
    assert slot_of(key) % partitions == java_partition
