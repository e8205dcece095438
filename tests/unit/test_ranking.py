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
    assert [rank(dict.fromkeys(NAMES[:3], 1.0), slot) for slot in (0, 1, 2, 4095)] == [
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


def test_a_server_that_leaves_moves_only_its_own_slots_to_the_next_in_rank() -> None:
    for before, after in zip(_table(NAMES), _table(NAMES[:-1]), strict=True):
        assert tuple(name for name in before if name != NAMES[-1]) == after


def test_a_heavier_server_owns_its_share() -> None:
    owners = Counter(ranked[0] for ranked in ranking_table({"a": 1.0, "b": 3.0}))
    assert abs(owners["b"] / SLOT_COUNT - 0.75) < 0.03


def test_the_cached_slot_is_the_slot() -> None:
    assert all(slot_of_sku(name) == slot_of(name) for name in [*NAMES, *NAMES])
