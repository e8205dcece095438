"""Figures as text."""

from collections.abc import Iterable, Sequence

from bench.figures import Spread, spread
from bench.report.selecting import Run, refusals


def count(found: Spread) -> str:
    return f"{found.middle:,.0f} ({found.low:,.0f} to {found.high:,.0f})"


def ratio(found: Spread) -> str:
    return f"{found.middle:.2f} ({found.low:.2f} to {found.high:.2f})"


def milliseconds(found: Spread) -> str:
    return f"{found.middle:.1f} ({found.low:.1f} to {found.high:.1f})"


def micros(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def rate(runs: Sequence[Run]) -> str:
    return count(spread([run["orders_per_s"] for run in runs]))


def latencies(runs: Sequence[Run], names: Sequence[str] = ("p50", "p95", "p99")) -> tuple[str, ...]:
    """Medians over repetitions."""
    return tuple(
        f"{spread(values).middle:.1f}" if (values := known(run["latency_ms"].get(name) for run in runs)) else ""
        for name in names
    )


def refused(runs: Sequence[Run]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in refusals(runs).items()) or "0"


def known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
