"""The history of a SKU as stretches: its changes that were written together, as one row.

A row costs Cassandra the same whether it holds one change or a thousand, so the changes of a SKU in a batch of events
make one. Where a stretch begins and ends depends on who wrote it, what it holds does not: a change is a function of
the log and of its ordinal. So stretches may overlap, after a crash or by a zombie's hand, and say the same where they
do. Of two that begin with the same change the longer one must stay: it has the higher timestamp, whoever writes last.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from sluice.seams.stock_projection import StockChange

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


def stretches(changes: Sequence[StockChange]) -> Iterator[Stretch]:
    """Changes of one SKU and journal come with rising ordinals."""
    of_sku: dict[tuple[str, UUID], list[StockChange]] = {}
    for change in changes:
        of_sku.setdefault((change.sku, change.journal), []).append(change)
    for together in of_sku.values():
        start = 0
        for end in range(1, len(together) + 1):
            if end == len(together) or not _goes_on(together[start], together[end - 1], together[end]):
                yield _stretch(together[start:end])
                start = end


def changes_of(
    sku: str,
    journal: UUID,
    first: int,
    deltas: Sequence[int],
    order_ids: Sequence[str],
    order_versions: Sequence[int],
    times_ms: Sequence[int],
) -> Iterator[StockChange]:
    rows = zip(deltas, order_ids, order_versions, times_ms, strict=True)
    return (StockChange(sku, journal, ordinal, *row) for ordinal, row in enumerate(rows, start=first))


def _goes_on(first: StockChange, before: StockChange, change: StockChange) -> bool:
    return (
        change.ordinal == before.ordinal + 1
        and change.ordinal % CHANGES_PER_PARTITION != 0
        and change.ordinal - first.ordinal < CHANGES_PER_STRETCH
        and abs(change.time_ms - first.time_ms) < MS_PER_STRETCH
    )


def _stretch(changes: Sequence[StockChange]) -> Stretch:
    _, _, ordinals, deltas, order_ids, order_versions, times_ms = zip(*changes, strict=True)
    first = changes[0]
    # Rises with what is added to a stretch: its newest time does not fall, its length grows. In microseconds, as
    # Cassandra's own, because files are kept by it.
    timestamp = max(times_ms) * 1_000 + len(changes) - 1
    part = ordinals[0] // CHANGES_PER_PARTITION
    return Stretch(first.sku, first.journal, part, ordinals[0], deltas, order_ids, order_versions, times_ms, timestamp)
