"""The history of a SKU as stretches: its changes that were written together, as one row.

A row costs Cassandra the same whether it holds one change or a thousand, so the changes of a SKU in a batch of events
make one. Where a stretch begins and ends depends on who wrote it, what it holds does not: a change is a function of
the log and of its ordinal. So stretches may overlap, after a crash or by a zombie's hand, and say the same where they
do. Of two that begin with the same change the longer one must stay: it has the higher timestamp, whoever writes last.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from sluice.seams.stock_projection import SkuChanges

CHANGES_PER_PARTITION = 10_000
"""At about 60 bytes each 0.6 MB: a partition of a hot SKU is full within a second, one of a quiet SKU holds all."""

CHANGES_PER_STRETCH = 1_000
"""As many as a batch of events has: about 60 KB. So many numbers, too, has a millisecond for timestamps."""

MS_PER_STRETCH = 3_600_000
"""A row is kept as long as its newest change: the others an hour longer at most."""


class Stretch(NamedTuple):
    """A row. `change` is the ordinal of the first, `part` the stretch of ordinals that makes a partition."""

    sku: str
    journal: UUID
    part: int
    change: int
    deltas: Sequence[int]
    order_ids: Sequence[str]
    order_versions: Sequence[int]
    times_ms: Sequence[int]
    timestamp: int


def stretches(changes: Iterable[SkuChanges]) -> Iterator[Stretch]:
    for of_sku in changes:
        start = 0
        while start < len(of_sku.deltas):
            end = _end(of_sku, start)
            yield _stretch(of_sku, start, end)
            start = end


def _end(changes: SkuChanges, start: int) -> int:
    """Where the stretch ends that begins at `start`."""
    left_in_partition = CHANGES_PER_PARTITION - (changes.first + start) % CHANGES_PER_PARTITION
    end = min(len(changes.deltas), start + left_in_partition, start + CHANGES_PER_STRETCH)
    times_ms = changes.times_ms[start:end]
    begin_ms = times_ms[0]
    if max(times_ms) - begin_ms < MS_PER_STRETCH and begin_ms - min(times_ms) < MS_PER_STRETCH:
        return end
    return start + next(n for n, time_ms in enumerate(times_ms) if abs(time_ms - begin_ms) >= MS_PER_STRETCH)


def _stretch(changes: SkuChanges, start: int, end: int) -> Stretch:
    sku, journal, first, deltas, order_ids, order_versions, times_ms = changes
    times_ms = times_ms[start:end]
    # Rises with what is added to a stretch: its newest time does not fall, its length grows. In microseconds, as
    # Cassandra's own, because files are kept by it.
    timestamp = max(times_ms) * 1_000 + end - start - 1
    change = first + start
    part = change // CHANGES_PER_PARTITION
    lists = (deltas[start:end], order_ids[start:end], order_versions[start:end], times_ms)
    return Stretch(sku, journal, part, change, *lists, timestamp)
