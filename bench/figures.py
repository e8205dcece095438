"""Arithmetic of the measurements: percentiles, spreads over repetitions, ratios, slopes."""

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """The same thing measured several times."""

    low: float
    middle: float
    high: float


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed. Raises ValueError if there is none."""
    if not sorted_values:
        raise ValueError("no values, no percentile")
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError if there is no value."""
    if not values:
        raise ValueError("no values, no spread")
    return Spread(min(values), median(values), max(values))


def ratios(measured: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Pair by pair: a repetition is compared with the reference that ran beside it, not with one of another minute.

    Raises ValueError if there are not as many of one as of the other.
    """
    return [value / base for value, base in zip(measured, reference, strict=True)]


def slope_per_minute(series: Sequence[tuple[float, float]]) -> float:
    """Least squares over (seconds, value); 0 for fewer than two moments."""
    if len(series) < 2:
        return 0.0
    mean_time = sum(time for time, _ in series) / len(series)
    mean_value = sum(value for _, value in series) / len(series)
    spread_of_time = sum((time - mean_time) ** 2 for time, _ in series)
    if not spread_of_time:
        return 0.0
    together = sum((time - mean_time) * (value - mean_value) for time, value in series)
    return 60 * together / spread_of_time
