"""Takes back what fenced incarnations held and did not sell.

A fenced incarnation cannot sell any more, so what the journal says it sold is final: its ledger row shrinks to that,
and the rest is available again. May be repeated at any time, by any number at once: a late write of a zombie may strand
units again. Of a SKU with the policy `counter` it held nothing; what it sold is stated instead of what it counted.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from journal.protocol import Journals
from sluice.counting import open_sellers
from sluice.errors import StoreUnreachable
from sluice.model import StockPolicy
from sluice.seams.stock_store import ALL_CELLS, Applied, Cell, Consistency, Row, StockStore

TOGETHER = 500
"""Rows that are looked at together, and folded together: a store that writes several SKUs at once does so with all that
it is asked for at the same time."""

AT_ONCE = 2
"""Of these: the store writes the one while the other is looked at. More would be in the way of the takes of those who
sell."""


class HeldRow(NamedTuple):
    """A ledger row that may hold more than was sold of it. `sold` is negative where more came back than was sold."""

    incarnation: UUID
    sku: str
    sold: int


class Returned(NamedTuple):
    """`units` is 0 for a row that holds what was sold and no more."""

    row: HeldRow
    units: int


async def held_rows(incarnation: UUID, journal: Journals, store: StockStore) -> Sequence[HeldRow]:
    """Every row that the incarnation may have, or must get: units of cancelled orders may have come back to a server
    that never took any. What it sold is final if it was fenced before this was called.

    Raises StoreUnreachable, JournalUnreachable.
    """
    noted = await store.skus_noted(incarnation)
    spent = await journal.spent(incarnation)
    return [HeldRow(incarnation, sku, spent.get(sku, 0)) for sku in sorted({*noted, *spent})]


def fold(rows: Sequence[HeldRow], store: StockStore) -> AsyncIterator[Returned]:
    """Gives back what the rows hold and did not sell. Only for rows of incarnations that were fenced before the rows
    were made: units of the living would be sold twice.

    Raises StoreUnreachable: then call it again, nothing is lost.
    """
    return _each(rows, lambda together: _fold_together(together, store))


def preview(rows: Sequence[HeldRow], store: StockStore) -> AsyncIterator[Returned]:
    """What `fold` would give back now, without doing it. Raises StoreUnreachable."""
    return _each(rows, lambda together: _outcomes(_unsold(row, store) for row in together))


_Outcomes = Sequence[int | BaseException]


async def _each(
    rows: Sequence[HeldRow], act: Callable[[Sequence[HeldRow]], Awaitable[_Outcomes]]
) -> AsyncIterator[Returned]:
    """AT_ONCE at any time. After a failure what is under way is finished: what came back must be counted."""
    waiting = _together(rows)
    acting: dict[asyncio.Task[_Outcomes], Sequence[HeldRow]] = {}
    failure: BaseException | None = None
    try:
        while True:
            while failure is None and len(acting) < AT_ONCE and (together := next(waiting, None)) is not None:
                acting[asyncio.ensure_future(act(together))] = together
            if not acting:
                break
            done, _ = await asyncio.wait(acting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                together = acting.pop(task)
                if (error := task.exception()) is not None:
                    failure = failure or error
                    continue
                for row, outcome in zip(together, task.result(), strict=True):
                    if isinstance(outcome, BaseException):
                        failure = failure or outcome
                    else:
                        yield Returned(row, outcome)
    finally:
        for task in acting:
            task.cancel()
    if failure is not None:
        raise failure


def _together(rows: Sequence[HeldRow]) -> Iterator[Sequence[HeldRow]]:
    """TOGETHER at a time, of one incarnation each."""
    for _, of_one in groupby(rows, attrgetter("incarnation")):
        while together := list(islice(of_one, TOGETHER)):
            yield together


async def _outcomes(acts: Iterable[Awaitable[int]]) -> _Outcomes:
    return await asyncio.gather(*acts, return_exceptions=True)


async def _unsold(row: HeldRow, store: StockStore) -> int:
    ledger = await store.read(row.sku, Consistency.STRONG)
    if ledger is None or ledger.policy is StockPolicy.COUNTER:
        return 0
    return max(_units(ledger.held.get(row.incarnation)) - row.sold, 0)


async def _fold_together(together: Sequence[HeldRow], store: StockStore) -> _Outcomes:
    """Where a look at a quorum shows units to fold, the write's own condition is as good as a serial look."""
    seen = await store.rows(together[0].incarnation, [row.sku for row in together])
    return await _outcomes(_fold(row, seen.get(row.sku), store) for row in together)


async def _fold(row: HeldRow, seen: Row | None, store: StockStore) -> int:
    """Folds one row, as often as it changes under our hands."""
    if seen is not None and (unsold := await _fold_from(seen, row, store)):
        return unsold
    while True:
        # A write that is not finished is seen by a serial look, and finished.
        ledger = await store.read(row.sku, Consistency.STRONG)
        if ledger is None:
            return 0
        if ledger.policy is StockPolicy.COUNTER:
            await _state_sales(row, store)
            return 0
        held = ledger.held.get(row.incarnation)
        if _units(held) <= row.sold:
            return 0
        if unsold := await _fold_from(held, row, store):
            return unsold


async def _fold_from(held: Row | None, row: HeldRow, store: StockStore) -> int:
    """Units that were given back; none if the row is not `held` any more, or nobody knows what became of the write."""
    unsold = _units(held) - row.sold
    if unsold <= 0:
        return 0
    try:
        outcome = await store.fold(row.sku, row.incarnation, held, row.sold)
    except StoreUnreachable as error:
        if not error.outcome_unknown:
            raise
        return 0
    return unsold if isinstance(outcome, Applied) else 0


def _units(held: Row | None) -> int:
    return held.units if held else 0


async def _state_sales(row: HeldRow, store: StockStore) -> None:
    """From now on others see what it sold, though additions of it were lost, never made, or land later. Units may also
    have come back to one that never began to sell.
    """
    counts = await store.counts(row.sku, Consistency.QUORUM)
    everything = Cell(row.incarnation, ALL_CELLS)
    if everything not in counts.closed and (row.sold or row.incarnation in open_sellers(counts)):
        await store.close_cell(row.sku, everything, row.sold)
