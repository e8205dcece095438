"""Which stock servers may own a slot, best first: weighted rendezvous hashing.

A server that leaves moves only its own slots, one that joins takes an even share from all, and the ranked list names
the fallbacks. A wrong answer costs speed, never correctness: two owners of one SKU hold two escrows.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

from sluice.slots import SLOT_COUNT


def _score(name: str, slot: int, weight: float) -> float:
    digest = hashlib.blake2b(f"{name}/{slot}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return -weight / math.log(uniform)


def rank(weights: Mapping[str, float], slot: int) -> tuple[str, ...]:
    """Server names by descending score for `slot`; ties (they do not happen) by name."""
    return tuple(sorted(weights, key=lambda name: (-_score(name, slot, weights[name]), name)))


def ranking_table(weights: Mapping[str, float]) -> Sequence[tuple[str, ...]]:
    """`rank` for every slot, computed once for a membership."""
    return tuple(rank(weights, slot) for slot in range(SLOT_COUNT))
