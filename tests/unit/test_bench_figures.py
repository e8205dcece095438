"""The arithmetic that every figure of the performance report goes through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Spread, percentile, ratios, slope_per_minute, spread

LATENCIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200).map(sorted)


@given(values=LATENCIES, share=st.floats(0.01, 1.0))
def test_a_percentile_is_the_smallest_value_that_enough_others_do_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    smaller = [value for value in values if value < found]
    assert len(smaller) < share * len(values)


def test_percentiles_of_a_hundred_values_are_those_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.50, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]


def test_no_values_have_no_percentile_and_no_spread() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_a_spread_is_lowest_median_highest() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(1.0, 2.0, 3.0)
    assert spread([4.0, 2.0]) == Spread(2.0, 3.0, 4.0)


def test_ratios_compare_repetition_by_repetition() -> None:
    assert ratios([50.0, 90.0], [100.0, 100.0]) == [0.5, 0.9]


def test_a_missing_repetition_is_an_error_not_a_shorter_list() -> None:
    with pytest.raises(ValueError, match="argument"):
        ratios([50.0], [100.0, 100.0])


def test_the_slope_of_a_line_is_its_growth_in_a_minute() -> None:
    assert slope_per_minute([(0.0, 100.0), (30.0, 101.0), (60.0, 102.0)]) == pytest.approx(2.0)
    assert slope_per_minute([(0.0, 100.0), (60.0, 100.0)]) == 0.0
    assert slope_per_minute([(0.0, 100.0)]) == 0.0
