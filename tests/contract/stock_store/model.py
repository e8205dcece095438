"""The ledger of one SKU in plain Python: what every store must do, write by write."""

from typing import NamedTuple
from uuid import UUID

from sluice.seams.stock_store import Applied, Refused, Row, WriteOutcome


class Restock(NamedTuple):
    restock_id: UUID
    units: int


class Withdraw(NamedTuple):
    withdrawal_id: UUID
    units: int


class Take(NamedTuple):
    incarnation: UUID
    before: Row | None
    count: int


class Fold(NamedTuple):
    incarnation: UUID
    before: Row | None
    sold: int


Write = Restock | Withdraw | Take | Fold


class LedgerModel:
    def __init__(self) -> None:
        self.available = 0
        self.restocks: dict[UUID, int] = {}
        self.held: dict[UUID, Row] = {}

    def apply(self, write: Write) -> WriteOutcome:
        match write:
            case Restock(restock_id, units):
                return self._add(restock_id, units)
            case Withdraw(withdrawal_id, units):
                return self._add(withdrawal_id, -units)
            case Take(incarnation, before, count):
                units = (before.units if before else 0) + count
                return self._replace_row(incarnation, before, units)
            case Fold(incarnation, before, sold):
                return self._replace_row(incarnation, before, sold)

    def _add(self, row_id: UUID, units: int) -> WriteOutcome:
        there = self.restocks.get(row_id)
        if there is not None or self.available + units < 0:
            return Refused(self.available, None if there is None else Row(there, 1))
        self.restocks[row_id] = units
        self.available += units
        return Applied()

    def _replace_row(self, incarnation: UUID, before: Row | None, units: int) -> WriteOutcome:
        row = self.held.get(incarnation)
        moved = units - (before.units if before else 0)
        if row != before or moved > self.available:
            return Refused(self.available, row)
        self.available -= moved
        self.held[incarnation] = Row(units, before.version + 1 if before else 1)
        return Applied()
