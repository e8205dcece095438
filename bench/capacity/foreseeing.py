"""What the model says of runs that it was not fitted to, beside what was measured.

The load generator waits for answers and shares the machine with everything. So the rate is what the cores allow: the
share of them that is busy under such a load, over what an order costs all that run on them. What other programs of the
machine used meanwhile is measured too, and taken off the cores.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, log
from statistics import median
from typing import Any

from bench.capacity.fitting import (
    DRIVEN_BY,
    LOAD_GENERATOR,
    Run,
    cpu_us_of,
    drivers_of,
    entries,
    fitted_us,
    log_batch,
    slopes_of,
    wall_s,
)
from bench.capacity.plan import SETTLED_PARTITIONS
from capacity.batching import Counts, of_policy, sku_writes_per_s
from capacity.load import Load, Policy
from capacity.slopes import Drivers, Slopes, read_slopes

ROUNDS = 50
"""The rate decides what a second's work costs an order, and that decides the rate; it settles within ten."""

LEAST_CORES_LEFT = 0.1
"""Clocks of CPU tick in hundredths of a second: beside busy programs a short run seems to be left less than nothing.
What is foreseen of such a run is wrong, and is seen to be.
"""

COUNTS = Counts(gateways=1, stockds=2, owners=1, journals=1, partitions=SETTLED_PARTITIONS)


def foresee(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each shape that is checked: orders/s until the last event is on Kafka, and µs of CPU of all of Sluice."""
    fitted = [run for run in document["runs"] if run["purpose"] == "fit"]
    cpu_us = {part: Drivers(**costs) for part, costs in fitted_us(fitted).items()}
    slopes = read_slopes(slopes_of(document))
    cores = document["machine"]["cores"]
    shapes: dict[str, list[Run]] = {}
    for run in document["runs"]:
        if run["purpose"] == "check":
            shapes.setdefault(run["name"], []).append(run)
    return [
        {"name": name, **_compared(runs, [run for run in fitted if _alike(run, runs[0])], cpu_us, slopes, cores)}
        for name, runs in shapes.items()
    ]


def _alike(one: Run, other: Run) -> bool:
    """Whose batches form in the same way."""
    return _kind(one) == _kind(other)


def _kind(run: Run) -> tuple[bool, str, bool, bool]:
    return bool(run["batch"]), run["policy"], run["skus"] > 1, run["lines"] > 1


def _compared(
    runs: Sequence[Run],
    alike: Sequence[Run],
    cpu_us: Mapping[str, Drivers],
    slopes: Slopes,
    cores: int,
) -> dict[str, Any]:
    shape = {name: runs[0][name] for name in ("batch", "in_flight", "lines", "skus", "policy")}
    busy = median(_own_s(run) / wall_s(run) / _cores_left(run, cores) for run in alike)
    cores_left = median(_cores_left(run, cores) for run in runs)
    rate = median(run["accepted"] / wall_s(run) for run in alike)
    for _ in range(ROUNDS):
        done = _drivers(shape, alike, slopes, rate)
        rate = busy * cores_left * 1e6 / sum(costs.times(done) for costs in cpu_us.values())
    own = [part for part in DRIVEN_BY if part != LOAD_GENERATOR]
    foreseen_us = sum(cpu_us[part].times(done) for part in own)
    measured = [run["accepted"] / wall_s(run) for run in runs]
    measured_us = median(sum(cpu_us_of(run, part) for part in own) for run in runs)
    return {
        "foreseen_orders_per_s": rate,
        "measured_orders_per_s": median(measured),
        "least_orders_per_s": min(measured),
        "most_orders_per_s": max(measured),
        "error": rate / median(measured) - 1,
        "cores_left": cores_left,
        "foreseen_us": foreseen_us,
        "measured_us": measured_us,
        "us_error": foreseen_us / measured_us - 1,
    }


def _own_s(run: Run) -> float:
    """CPU of Sluice, its servers and the load generator."""
    return float(sum(seconds for name, seconds in run["cpu_s"].items() if name != "others"))


def _cores_left(run: Run, cores: int) -> float:
    """By other programs."""
    return max(LEAST_CORES_LEFT, float(cores - run["cpu_s"]["others"] / wall_s(run)))


def _drivers(shape: Mapping[str, Any], alike: Sequence[Run], slopes: Slopes, rate: float) -> Drivers:
    """Batches as large as in runs of this kind with more and with fewer orders under way."""
    size = _between(alike, shape, lambda done: 1 / done.group)
    transaction = 1 / _between(alike, shape, lambda done: 1 / done.transaction)
    load = Load(
        rate,
        lines_per_order=shape["lines"],
        skus=shape["skus"],
        hottest_share=1 / shape["skus"],
        stream_batch=shape["batch"],
        policy=Policy(shape["policy"]),
    )
    per_sku = sku_writes_per_s(load, COUNTS, slopes, load.hottest_per_s, COUNTS.owners, 1 / size)
    return Drivers(
        order=1.0,
        line=shape["lines"] - 1.0,
        message=1 / shape["batch"] if shape["batch"] else 0.0,
        call=0.0 if shape["batch"] else 1.0,
        group=1 / size,
        entry=entries(shape["lines"], shape["skus"], size) / size,
        **of_policy(load.policy, shape["skus"] * per_sku / rate),
        transaction=transaction,
        log_batch=log_batch(shape["lines"], shape["skus"], rate),
        second=1 / rate,
    )


def _between(alike: Sequence[Run], shape: Mapping[str, Any], size_of: Any) -> float:
    """On a line between the logarithms of the nearest two; one run alone says what share of all goes together."""
    sizes: dict[float, list[float]] = {}
    for run in alike:
        sizes.setdefault(_under_way(run), []).append(size_of(drivers_of(run)))
    points = sorted((orders, median(each)) for orders, each in sizes.items())
    wanted = _under_way(shape)
    if len(points) == 1:
        return max(1.0, points[0][1] * min(1.0, wanted / points[0][0]))
    low, high = next((pair for pair in pairwise(points) if pair[1][0] >= wanted), (points[-2], points[-1]))
    share = (log(wanted) - log(low[0])) / (log(high[0]) - log(low[0]))
    return exp(log(low[1]) + share * (log(high[1]) - log(low[1])))


def _under_way(shape: Mapping[str, Any]) -> float:
    """Orders that wait for their answers at any time."""
    return float(shape["in_flight"] * (shape["batch"] or 1))
