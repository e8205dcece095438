"""Notes in the ledger of which SKUs an incarnation may hold units, so that a successor finds them all."""

import asyncio
from uuid import UUID

from sluice.seams.stock_store import StockStore
from stockd.turns import Turns, Urgency

SKUS_PER_NOTE = 30
"""In one request: some kilobytes with the longest names, and nobody waits long for a batch that is being written."""


class HolderNotes:
    """One request at a time; SKUs that are asked for meanwhile share the next one."""

    def __init__(self, incarnation: UUID, store: StockStore, turns: Turns) -> None:
        self._incarnation = incarnation
        self._store = store
        self._turns = turns
        self._wanted: list[tuple[str, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def note(self, sku: str) -> None:
        """Returns when the note stands. Raises StoreUnreachable; then it may stand or not."""
        noted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.append((sku, noted))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await noted

    async def _write(self) -> None:
        try:
            while self._wanted:
                batch, self._wanted = self._wanted[:SKUS_PER_NOTE], self._wanted[SKUS_PER_NOTE:]
                outcome = await self._write_one([sku for sku, _ in batch])
                for _, noted in batch:
                    if not noted.done():
                        noted.set_result(None) if outcome is None else noted.set_exception(outcome)
        finally:
            self._writing = None

    async def _write_one(self, skus: list[str]) -> Exception | None:
        try:
            async with self._turns.turn(Urgency.WRITE):
                await self._store.note_held(self._incarnation, skus)
        except Exception as error:  # noqa: BLE001 - raised where the note was asked for
            return error
        return None
