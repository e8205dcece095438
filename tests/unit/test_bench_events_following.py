"""A consumer's rate in a measurement: of the whole time, and of its second half."""

import pytest

from bench.events.following import NotInTime, worked


def test_a_steady_consumer_is_as_fast_later() -> None:
    found = worked([(10.0 + second, 100 * (second + 1)) for second in range(11)], total=1_100)
    assert found == (1_000, 10.0, True, 100.0)


def test_what_it_loses_at_first_does_not_count_later() -> None:
    found = worked([(0.0, 5), (4.0, 10), (8.0, 20), (12.0, 420), (16.0, 820)], total=1_000)
    assert found == (815, 16.0, False, 100.0)


def test_two_looks_are_enough_for_a_rate() -> None:
    assert worked([(0.0, 5), (1.0, 10)], total=10) == (5, 1.0, True, 5.0)


@pytest.mark.parametrize("seen", [[], [(0.0, 5)]])
def test_one_look_is_not(seen: list[tuple[float, int]]) -> None:
    with pytest.raises(NotInTime):
        worked(seen, total=10)
