"""Notes in the ledger of which SKUs an incarnation may hold units, so that a successor finds them all."""

import asyncio
import sys
from uuid import UUID

from sluice.coalescer import Coalescer
from sluice.seams.stock_store import StockStore
from stockd.turns import Turns, Urgency

SKUS_PER_NOTE = 30
"""In one request: some kilobytes with the longest names, and nobody waits long for a batch that is being written."""

NOTES_AT_ONCE = 16
"""At the start of a sale of many SKUs: as many as take their first units at the same time, and more than one ledger
answers. One alone would hold those takes up."""

_Wanted = tuple[str, asyncio.Future[None]]


class HolderNotes:
    """SKUs that are asked for while a request is on the way share the next one; a full one does not wait for it."""

    def __init__(self, incarnation: UUID, store: StockStore, turns: Turns) -> None:
        self._incarnation = incarnation
        self._store = store
        self._turns = turns
        self._notes: Coalescer[_Wanted] = Coalescer(
            self._write,
            weigh=lambda _: 1,
            max_batch_weight=SKUS_PER_NOTE,
            max_in_flight=NOTES_AT_ONCE,
            max_queued_weight=sys.maxsize,  # those who ask have their own bound
            eager_batches=1,
            worth_weight=SKUS_PER_NOTE,
        )

    async def note(self, sku: str) -> None:
        """Returns when the note stands. Raises StoreUnreachable; then it may stand or not."""
        noted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._notes.submit((sku, noted))
        await noted

    async def _write(self, batch: list[_Wanted]) -> None:
        failure: Exception | None = None
        try:
            async with self._turns.turn(Urgency.WRITE):
                await self._store.note_held(self._incarnation, [sku for sku, _ in batch])
        except Exception as error:  # noqa: BLE001 - raised where the note was asked for
            failure = error
        for _, noted in batch:
            if not noted.done():
                noted.set_result(None) if failure is None else noted.set_exception(failure)
