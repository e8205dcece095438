"""The seam between gateway and stockd: reserve units for a batch of orders, tell later what was sold of them."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol
from uuid import UUID


class Verdict(IntEnum):
    """What became of one order of a batch; the same numbers as `sluice.stock.v1.Verdict`."""

    GRANTED = 1
    OUT_OF_STOCK = 2
    SKU_NOT_FOUND = 3
    LEDGER_UNREACHABLE = 4
    OVERLOADED = 5
    AGAIN = 6
    """Not decided: it cannot be before this answer is heard. Commit what was granted and ask again at once."""


class ReserveBatch(NamedTuple):
    """Orders as columns, in arrival order. An order is granted whole or not at all.

    `skus` holds each SKU once; line i asks for `quantities[i]` units of `skus[sku_indexes[i]]`; order j has
    `lines_per_order[j]` lines. An empty `lines_per_order` means one line each. All of them are in the journal of the
    number `shard`, so that one transaction there can decide the reservation.
    """

    skus: Sequence[str]
    lines_per_order: Sequence[int]
    sku_indexes: Sequence[int]
    quantities: Sequence[int]
    shard: int = 0


class Reservation(NamedTuple):
    """The answer to a batch. `(incarnation, seq)` names what was granted; seq 0: nothing was.

    `verdicts` are `Verdict` numbers per order. `blamed` holds per order the index in `skus` that decided a refusal
    (0 where granted); it is empty if all were granted. `owners` advises, per SKU of the batch, over how many of its
    best ranked servers its orders should be spread; empty: no SKU of the batch over more than one.
    """

    incarnation: UUID
    seq: int
    verdicts: Sequence[int]
    blamed: Sequence[int]
    owners: Sequence[int] = ()


class Settlement(NamedTuple):
    """What the journal's row `(incarnation, seq)` says: units sold, by SKU; negative where they came back."""

    incarnation: UUID
    seq: int
    sold: Mapping[str, int]


class StockKeeper(Protocol):
    """A stock server as the gateway sees it: over gRPC, or in the same process."""

    async def reserve(self, batch: ReserveBatch, settlements: Sequence[Settlement], timeout_s: float) -> Reservation:
        """Grants what it can, first come first served within a SKU.

        Raises KeeperUnreachable. An answer that is lost needs no care: a reservation that is never committed becomes
        void, so the caller may ask another server at once.
        """
        ...

    async def reserve_return(self, units: Mapping[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        """Reserves the return of units (positive, by SKU) of orders that are about to end, all in the journal of the
        number `shard`: a reservation of negative quantity. Granted always, without asking the ledger. The units are for
        sale again when the journal has the row `(incarnation, seq)` that is returned here, with negative units; without
        it the reservation becomes void.

        Raises KeeperUnreachable; as with `reserve`, another server may be asked at once. Any server takes any SKU back.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], timeout_s: float) -> None:
        """Tells what the journal says of earlier reservations. Raises KeeperUnreachable; losing it only costs time."""
        ...
