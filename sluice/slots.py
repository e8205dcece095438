"""Slots: the one unit of placement. A SKU's slot picks its stock server, a key's slot picks its Kafka partition.

murmur2 is the hash of Kafka's Java client, bit for bit. With a partition count that divides SLOT_COUNT,
`slot_of(key) % partitions` is therefore the partition that the Java default partitioner would choose.
"""

from functools import lru_cache

from confluent_kafka import murmur2

SLOT_COUNT = 4096

CACHED_KEYS = 65_536
"""Hot SKUs repeat; 64 k short strings are about 10 MB at most."""


def slot_of(key: str) -> int:
    """The slot of `key`: 0 to SLOT_COUNT - 1."""
    return murmur2(key.encode(), SLOT_COUNT)


slot_of_sku = lru_cache(maxsize=CACHED_KEYS)(slot_of)
"""`slot_of` for keys that repeat."""
