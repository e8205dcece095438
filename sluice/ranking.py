"""Which stock servers may own a slot, best first: weighted rendezvous hashing with a limit to the share of each.

A server that leaves moves little more than its own slots, one that joins takes an even share from all, and the ranked
list names the fallbacks. A wrong answer costs speed, never correctness: two owners of one SKU hold two escrows.
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
    """The servers of every slot, best first, computed once for a membership: as `rank`, but a server that has its share
    of best places leaves further ones to the next in rank; who scores highest anywhere chooses first.

    Hashing alone gave one of eight servers 11 % more than its share. Holding all to it exactly moves no more slots when
    a server joins than holding them to it loosely: 1.08 times its share, with eight.
    """
    scores = [{name: _score(name, slot, weight) for name, weight in weights.items()} for slot in range(SLOT_COUNT)]
    total = sum(weights.values())
    places = {name: math.ceil(SLOT_COUNT * weight / total) for name, weight in weights.items()}
    best: dict[int, str] = {}
    bids = ((-score, name, slot) for slot, by_name in enumerate(scores) for name, score in by_name.items())
    for _, name, slot in sorted(bids):
        if slot not in best and places[name]:
            places[name] -= 1
            best[slot] = name
    return tuple(
        tuple(sorted(by_name, key=lambda name: (name != best[slot], -by_name[name], name)))
        for slot, by_name in enumerate(scores)
    )
