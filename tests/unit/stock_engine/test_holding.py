"""However many SKUs a server holds units of, one look at them is short, and each comes to its turn."""

import pytest

from stockd.escrow import Escrow
from stockd.holding import Holding


def holding(*free: int) -> tuple[Holding, list[Escrow]]:
    held = Holding()
    escrows = [Escrow(f"sku-{number}") for number in range(len(free))]
    for escrow, units in zip(escrows, free, strict=True):
        escrow.free = units
        held.add(escrow)
    return held, escrows


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_every_sku_comes_to_its_turn_before_one_comes_twice(limit: int) -> None:
    held, escrows = holding(*[1] * 7)
    seen = [escrow for _ in range(7) for escrow in held.next(limit)]
    for first in range(0, len(seen) - 6, 7):
        assert set(seen[first : first + 7]) == set(escrows)
    assert len(seen) == 7 * limit


def test_one_that_is_added_twice_has_one_turn() -> None:
    held, (apple,) = holding(3)
    held.add(apple)
    assert list(held.next(10)) == [apple]
    assert held.units() == 3


def test_one_that_holds_nothing_is_forgotten_until_it_is_added_again() -> None:
    held, (apple, pear) = holding(1, 1)
    apple.free = 0
    assert list(held.next(10)) == [pear]
    assert len(held) == 1
    apple.free = 2
    held.add(apple)
    assert list(held.next(10)) == [pear, apple]
