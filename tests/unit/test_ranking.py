"""Which stock servers own a slot: spread evenly, the same everywhere, and moved as little as can be."""

import math
from collections import Counter

from sluice.ranking import rank, ranking_table
from sluice.slots import SLOT_COUNT, slot_of, slot_of_sku

NAMES = [f"stockd-{number}" for number in range(5)]


def _table(names: list[str]) -> list[tuple[str, ...]]:
    return list(ranking_table(dict.fromkeys(names, 1.0)))


def test_every_slot_ranks_every_server_once() -> None:
    table = _table(NAMES)
    assert len(table) == SLOT_COUNT
    assert all(sorted(ranked) == NAMES for ranked in table)


def test_the_order_of_the_names_does_not_matter() -> None:
    assert _table(NAMES) == _table(NAMES[::-1])


def test_the_ranking_never_changes_between_versions() -> None:
    """Gateways of two versions run side by side during an upgrade."""
    table = _table(NAMES[:3])
    assert [table[slot] for slot in (0, 1, 2, 4095)] == [
        ("stockd-1", "stockd-2", "stockd-0"),
        ("stockd-2", "stockd-1", "stockd-0"),
        ("stockd-1", "stockd-2", "stockd-0"),
        ("stockd-0", "stockd-2", "stockd-1"),
    ]


def test_slots_are_spread_evenly_in_every_rank() -> None:
    """As evenly as throws of a fair die: within four standard deviations."""
    fair = SLOT_COUNT / len(NAMES)
    deviation = math.sqrt(fair * (1 - 1 / len(NAMES)))
    for place in range(len(NAMES)):
        shares = Counter(ranked[place] for ranked in _table(NAMES))
        assert all(abs(share - fair) < 4 * deviation for share in shares.values())


def test_a_server_that_leaves_moves_little_but_its_own_slots() -> None:
    moved = [
        before[0]
        for before, after in zip(_table(NAMES), _table(NAMES[:-1]), strict=True)
        if before[0] != NAMES[-1] and before[0] != after[0]
    ]
    assert len(moved) <= 0.05 * SLOT_COUNT


def test_the_fallbacks_are_ranked_by_score() -> None:
    for slot, (_, *others) in enumerate(_table(NAMES)):
        assert [name for name in rank(dict.fromkeys(NAMES, 1.0), slot) if name in others] == others


def test_a_heavier_server_owns_its_share() -> None:
    owners = Counter(ranked[0] for ranked in ranking_table({"a": 1.0, "b": 3.0}))
    assert abs(owners["b"] / SLOT_COUNT - 0.75) < 0.03


def test_the_cached_slot_is_the_slot() -> None:
    assert all(slot_of_sku(name) == slot_of(name) for name in [*NAMES, *NAMES])


SAMPLE = 100_000
"""Of a million SKUs: with fewer, chance weighs more."""


def _owners(names: list[str], slots: list[int]) -> list[str]:
    table = _table(names)
    return [table[slot][0] for slot in slots]


def test_skus_spread_over_eight_servers_within_five_percent() -> None:
    slots = [slot_of(f"sku-{number}") for number in range(SAMPLE)]
    shares = Counter(_owners([f"stockd-{number}" for number in range(8)], slots))
    fair = SAMPLE / 8
    assert max(abs(share - fair) for share in shares.values()) <= 0.05 * fair, shares


def test_a_server_that_joins_moves_little_more_than_its_share() -> None:
    slots = [slot_of(f"sku-{number}") for number in range(SAMPLE)]
    names = [f"stockd-{number}" for number in range(8)]
    before, after = _owners(names, slots), _owners([*names, "stockd-8"], slots)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert moved.count("stockd-8") >= 0.9 * len(moved)
    assert len(moved) <= 1.5 / 9 * SAMPLE
