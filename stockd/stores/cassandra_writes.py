"""The conditional writes of a round, and what each of them is told when the round is refused.

A round is done as a whole or not at all. A refusal shows the rows that its conditions speak of, and so tells who was
in the way of the others.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sluice.model import StockPolicy
from sluice.seams.stock_store import NoSuchSku, Refused, Row, WriteOutcome
from stockd.stores.cassandra_schema import policy_of
from stockd.stores.cassandra_session import Answer


class Create(NamedTuple):
    """Makes the SKU, if it is not there."""

    sku: str


class Move(NamedTuple):
    """Moves units between what is available and a row, if that is `before` and `floor` units are available."""

    sku: str
    kind: int
    row_id: UUID
    floor: int
    before: Row | None


Told = WriteOutcome | StockPolicy
"""A SKU that could not be created stands already, with this policy."""


def applied(answer: Answer) -> bool:
    return bool(answer.rows[0][list(answer.columns).index("[applied]")])


def refusals(writes: Sequence[Create | Move], answer: Answer) -> Sequence[Told | None]:
    """What was in the way of each; None if nothing was, and it suffered for others."""
    skus: dict[str, tuple[int, str | None]] = {}
    rows: dict[tuple[str, int, UUID], Row] = {}
    for values in answer.rows:
        # By name: their order differs between statements, and if no row is there it shows none of them.
        row = dict(zip(answer.columns, values, strict=True))
        if row.get("available") is not None:
            skus[row["sku"]] = (row["available"], row.get("policy"))
        elif row.get("units") is not None:
            rows[row["sku"], row["kind"], row["id"]] = Row(row["units"], row["version"])
    return [
        _create_refusal(skus.get(write.sku))
        if isinstance(write, Create)
        else _move_refusal(write, skus.get(write.sku), rows.get((write.sku, write.kind, write.row_id)))
        for write in writes
    ]


def _create_refusal(sku: tuple[int, str | None] | None) -> StockPolicy | None:
    return None if sku is None or sku[1] is None else policy_of(sku[1])


def _move_refusal(move: Move, sku: tuple[int, str | None] | None, row: Row | None) -> WriteOutcome | None:
    if sku is None:
        return NoSuchSku()
    available, _ = sku
    if available >= move.floor and row == move.before:
        return None
    return Refused(available, row)
