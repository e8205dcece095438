"""How many of everything a load needs, and which slope and which limit decided it.

The more processes there are the smaller are the batches between them, and the dearer is each order: so the numbers are
raised until they suffice for what they themselves cost. Batches never get smaller than one order, so that ends.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from capacity.batching import CONNECTIONS, Counts, drivers
from capacity.limits import (
    BROKERS,
    CONSUMERS,
    DISK,
    GATEWAYS,
    JOURNALS,
    NODES,
    OWNERS,
    PARTITIONS,
    RELAYS,
    STOCKDS,
    Limit,
    Part,
    parts,
)
from capacity.load import Load
from capacity.slopes import Drivers, Slopes

ROUNDS = 1_000
"""Raising the numbers took some dozens for the largest loads that were tried; this is a fuse."""

MOST_FACTOR = 1_024.0
HALVINGS = 20
"""A millionth of the load is near enough."""


@dataclass(frozen=True)
class Line:
    """So many of a part. `limit` decided it, with the slope that it names; the load takes `used` of that limit, where
    1 is all of it with no headroom left. `decided_by_least`: the load alone would need fewer.
    """

    part: str
    count: int
    limit: Limit
    used: float
    decided_by_least: bool


@dataclass(frozen=True)
class Tightest:
    """What is used up first if the load is raised, and at how much of it. Disks are left out: they fill over days."""

    part: str
    limit: Limit
    factor: float


@dataclass(frozen=True)
class Plan:
    """`machines` by what runs on them. `refusals`: why the load cannot be carried, however much is bought; empty if it
    can. `notes`: what has to be set, or known, besides.
    """

    load: Load
    counts: Counts
    per_order: Drivers
    lines: tuple[Line, ...]
    machines: dict[str, int]
    tightest: Tightest
    refusals: tuple[str, ...]
    notes: tuple[str, ...]

    def line(self, part: str) -> Line:
        return next(line for line in self.lines if line.part == part)


def plan(load: Load, slopes: Slopes) -> Plan:
    counts = Counts()
    for _ in range(ROUNDS):
        enough = _raised(counts, parts(load, counts, slopes), load.headroom)
        if enough == counts:
            break
        counts = enough
    found = parts(load, counts, slopes)
    lines = tuple(_line(part, _count(part, counts, load.headroom), load.headroom) for part in found)
    return Plan(
        load,
        counts,
        drivers(load, counts, slopes, load.group_s),
        lines,
        _machines(lines, load),
        _tightest(load, counts, slopes, {line.part: line.count for line in lines}),
        tuple(refusal for part in found for refusal in _refusals(part, load)),
        _notes(counts, slopes),
    )


_COUNTED = {GATEWAYS: "gateways", STOCKDS: "stockds", OWNERS: "owners", JOURNALS: "journals", PARTITIONS: "partitions"}
"""Parts whose number decides how large batches are."""


def _raised(counts: Counts, found: tuple[Part, ...], headroom: float) -> Counts:
    counted = [part for part in found if part.name in _COUNTED]
    return replace(counts, **{_COUNTED[part.name]: _count(part, counts, headroom) for part in counted})


def _count(part: Part, counts: Counts, headroom: float) -> int:
    """Never fewer than there are in `counts` already."""
    wanted = max(part.least, *(limit.units(headroom) for limit in part.limits))
    if part.name == PARTITIONS:
        wanted = _power_of_two(wanted)
    if part.name in _COUNTED:
        wanted = max(wanted, getattr(counts, _COUNTED[part.name]))
    return wanted if part.most is None else min(wanted, part.most)


def _power_of_two(count: int) -> int:
    """Partitions divide the 4,096 slots."""
    return 1 << (count - 1).bit_length()


def _line(part: Part, count: int, headroom: float) -> Line:
    limit = max(part.limits, key=lambda each: each.used(count))
    wanted = max(each.units(headroom) for each in part.limits)
    return Line(part.name, count, limit, limit.used(count), decided_by_least=wanted < part.least)


def _tightest(load: Load, counts: Counts, slopes: Slopes, numbers: Mapping[str, int]) -> Tightest:
    """Looked for, not read off the shares used: a higher load makes larger batches, which spare some parts more than
    others.
    """

    def fullest(factor: float) -> tuple[float, str, Limit]:
        raised = replace(load, orders_per_s=load.orders_per_s * factor)
        used = [
            (limit.used(numbers[part.name]), part.name, limit)
            for part in parts(raised, counts, slopes)
            for limit in part.limits
            if limit.name != DISK
        ]
        return max(used, key=lambda each: each[0])

    low, high = 0.0, 1.0
    while fullest(high)[0] < 1 and high < MOST_FACTOR:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fullest(middle)[0] < 1 else (low, middle)
    _, part, limit = fullest(high)
    return Tightest(part, limit, high)


def _machines(lines: tuple[Line, ...], load: Load) -> dict[str, int]:
    """Our processes share machines, a core each; servers of others have machines of their own."""
    count = {line.part: line.count for line in lines}
    processes = count[GATEWAYS] + count[STOCKDS] + count[JOURNALS] + count[CONSUMERS]
    return {
        f"{GATEWAYS}, {STOCKDS}, {RELAYS}, {CONSUMERS}": math.ceil(processes / load.cores),
        "PostgreSQL": count[JOURNALS] * load.journal_copies,
        "Kafka": count[BROKERS],
        "Cassandra": count[NODES],
    }


def _refusals(part: Part, load: Load) -> list[str]:
    told = []
    for limit in part.limits:
        given = limit.each * (1 - load.headroom)
        if not limit.possible(load.headroom):
            told.append(
                f"{part.name}: {limit.fixed:,.3g} {limit.unit} fall on one alone, which gives {given:,.3g} "
                f"({limit.name}; {limit.slope})"
            )
        elif part.most is not None and (wanted := limit.units(load.headroom)) > part.most:
            told.append(f"{part.name}: {wanted:,} are needed, {part.most:,} are the most ({limit.name}; {limit.slope})")
    return told


def _notes(counts: Counts, slopes: Slopes) -> tuple[str, ...]:
    connections = counts.gateways * CONNECTIONS
    notes = [f"each gateway speaks to {counts.stockds:,} stockd and {counts.journals:,} PostgreSQL shards"]
    if alone := [name for name, count in (("gateway", counts.gateways), ("stockd", counts.stockds)) if count == 1]:
        notes.append(
            f"without a second {' and a second '.join(alone)} orders wait whenever one is started again or lost"
        )
    if connections > slopes.max_connections:
        notes.append(
            f"each database has {connections:,} connections of gateways, where it was measured with at most "
            f"{slopes.max_connections:,.0f}: it needs a connection pooler or fewer, larger installations side by side"
        )
    return tuple(notes)
