"""Costs that are not negative, from runs that had a share of each: what an order costs cannot be less than nothing."""

from collections.abc import Sequence
from itertools import combinations


def fit(rows: Sequence[Sequence[float]], totals: Sequence[float]) -> list[float]:
    """The factors whose sums of products with `rows` are nearest to `totals`, each difference counted as a share of its
    total. None is below 0. All sets of factors that are above 0 are tried: they are few.
    """
    scaled = [[each / total for each in row] for row, total in zip(rows, totals, strict=True) if total > 0]
    width = len(rows[0])
    best, best_error = [0.0] * width, float(len(scaled))
    for size in range(1, width + 1):
        for chosen in combinations(range(width), size):
            part = _solve([[row[column] for column in chosen] for row in scaled])
            if part is None or min(part) < 0:
                continue
            factors = [0.0] * width
            for column, factor in zip(chosen, part, strict=True):
                factors[column] = factor
            error = sum((_product(row, factors) - 1.0) ** 2 for row in scaled)
            if error < best_error - NEGLIGIBLE:
                best, best_error = factors, error
    return best


NEGLIGIBLE = 1e-12


def _product(row: Sequence[float], factors: Sequence[float]) -> float:
    return sum(each * factor for each, factor in zip(row, factors, strict=True))


def _solve(rows: Sequence[Sequence[float]]) -> list[float] | None:
    """Least squares towards 1 by the normal equations; None if these do not decide it. Columns are scaled first: a
    factor may be a million times another.
    """
    width = len(rows[0])
    scales = [max(row[column] for row in rows) for column in range(width)]
    if min(scales) <= 0:
        return None
    scaled = [[each / scale for each, scale in zip(row, scales, strict=True)] for row in rows]
    matrix = [
        [*(sum(row[i] * row[j] for row in scaled) for j in range(width)), sum(row[i] for row in scaled)]
        for i in range(width)
    ]
    for i in range(width):
        pivot = max(range(i, width), key=lambda line: abs(matrix[line][i]))
        if abs(matrix[pivot][i]) < NEGLIGIBLE:
            return None
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        for line in range(width):
            if line != i:
                ratio = matrix[line][i] / matrix[i][i]
                matrix[line] = [a - ratio * b for a, b in zip(matrix[line], matrix[i], strict=True)]
    return [matrix[i][width] / matrix[i][i] / scales[i] for i in range(width)]
