"""Which of a cluster's journals an order is in.

By the slot of its id, the same one that places its events on Kafka. With a partition count that the number of journals
divides, a partition of an order topic therefore has orders of one journal only, as long as no slot was moved.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from sluice.slots import slot_of

MAX_SHARDS = 32
"""Of 128 slots each. The metadata of one offset commit holds a consumer's positions in about 60 journals."""

Item = TypeVar("Item")


def shard_of(order_id: str, shards: int) -> int:
    """The number of the journal: 0 to shards - 1. Never changes for an order."""
    return slot_of(order_id) % shards if shards > 1 else 0


def divided(items: Iterable[Item], order_id_of: Callable[[Item], str], shards: int) -> dict[int, list[Item]]:
    """By journal number, in the order in which they came; journals of which none is are missing."""
    of_shard: dict[int, list[Item]] = {}
    for item in items:
        of_shard.setdefault(slot_of(order_id_of(item)) % shards, []).append(item)
    return of_shard
