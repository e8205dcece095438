"""The seam to the projection of `stock-changed`: what the log says of each SKU, kept where it can be read at once.

A state is a function of the log alone: of all changes of a SKU up to a position. So whoever writes the state at a
position writes the same, and the one at the higher position is the one to keep, whichever was written last.

States and changes belong to a generation. One generation is live; a rebuild fills another and puts it in its place.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID


class SkuState(NamedTuple):
    """A SKU after the last of its changes that one journal has made. `sold`: units sold less units that came back;
    `changes`: how many there were; `time_ms`: when the last one was committed, since the Unix epoch.
    """

    sku: str
    journal: UUID
    number: int
    place: int
    sold: int
    changes: int
    time_ms: int


class StockChange(NamedTuple):
    """One change of a SKU. `ordinal`: its place among the SKU's changes in this journal, from 0. `delta` is negative
    when units were sold.
    """

    sku: str
    journal: UUID
    ordinal: int
    delta: int
    order_id: str
    order_version: int
    time_ms: int


class SkuChanges(NamedTuple):
    """Changes of a SKU that follow each other, of one journal; `first` is the ordinal of the first. Each list has an
    entry for each of them: an object for each would cost more than all else that is done with it.
    """

    sku: str
    journal: UUID
    first: int
    deltas: Sequence[int]
    order_ids: Sequence[str]
    order_versions: Sequence[int]
    times_ms: Sequence[int]

    def one_by_one(self) -> Iterator[StockChange]:
        rows = zip(self.deltas, self.order_ids, self.order_versions, self.times_ms, strict=True)
        return (StockChange(self.sku, self.journal, ordinal, *row) for ordinal, row in enumerate(rows, self.first))


class Control(NamedTuple):
    """Which generation is live, and which rebuild, if any, may take its place. `handing_over`: the rebuild reads what
    is left of the log, and nobody may write to the live generation from now on. `version` counts the writes.
    """

    version: int
    live: UUID
    rebuilding: UUID | None
    handing_over: bool


FIRST_GENERATION = UUID(int=0)

UNTOUCHED = Control(0, FIRST_GENERATION, None, handing_over=False)
"""Of a projection that was never rebuilt."""


class StockProjection(Protocol):
    """Every method raises StoreUnreachable. Every write may be sent again, by anyone and at any time."""

    async def control(self) -> Control:
        """As the last write that took effect left it."""
        ...

    async def replace_control(self, before: Control, after: Control) -> bool:
        """Puts `after`, whose version is one more, in the place of `before`. False: it is not `before` any more."""
        ...

    async def states(self, generation: UUID, skus: Sequence[str]) -> Mapping[tuple[str, UUID], SkuState]:
        """By SKU and journal. Sees every write that has returned."""
        ...

    async def write(self, generation: UUID, states: Sequence[SkuState], changes: Sequence[SkuChanges]) -> None:
        """Keeps each state that is above the one that is there, and each change for as long as history is kept. The
        changes are there before the states are: a crash between the two repeats both.
        """
        ...

    async def recent(self, generation: UUID, sku: str, limit: int) -> Sequence[StockChange]:
        """The last changes of a SKU that are kept, newest first."""
        ...

    def scan(self, generation: UUID) -> AsyncIterator[Sequence[SkuState]]:
        """All states, in no order that means anything."""
        ...

    async def drop(self, generation: UUID) -> None:
        """Deletes the states of a generation that nobody will use again. Its changes go when their time is over."""
        ...

    async def generations(self) -> frozenset[UUID]:
        """Those that have any state."""
        ...

    async def close(self) -> None: ...
