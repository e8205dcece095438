"""What stock servers do for each other: show that they live, fence who does not, and take back what those held.

No clock is trusted for safety. Fencing a server that lives is safe, because the journal then refuses what it sells; it
only costs that server a restart. So time decides nothing here but how soon somebody acts.
"""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from journal.protocol import IncarnationRow, Journals
from sluice.errors import JournalUnreachable, Unreachable
from sluice.seams.stock_store import StockStore
from stockd.metrics import StockdMetrics
from stockd.reclaim import fold, held_rows

LOOKS_PER_LIMIT = 5
"""How often the watch looks within the limit of silence: who died is found at most two looks late."""

RECLAIM_POLL_S = 1.0
"""How soon a fenced incarnation is found. The question touches a table that is nearly always empty."""

CLAIM_S = 30.0
"""How long others leave a fenced incarnation to the one that is folding it. After that, because it may have died too,
the next one begins: two at once do no harm."""

_log = structlog.get_logger(__name__)


async def keep_beating(incarnation: UUID, journal: Journals, interval_s: float) -> None:
    """Raises IncarnationFenced when this incarnation must stop."""
    while True:
        try:
            await journal.beat(incarnation)
        except JournalUnreachable as error:
            _log.warning("no heartbeat: peers may take this server for dead", reason=str(error))
        await asyncio.sleep(interval_s)


async def keep_watching_peers(
    own: UUID, journal: Journals, dead_after_s: float, monotonic: Callable[[], float], metrics: StockdMetrics
) -> None:
    """Fences peers that have been silent for `dead_after_s`.

    One half of that is measured by the database's clock, the other by watching. Without the second half everybody
    would look dead to everybody when the journal comes back after an outage, or when its clock is set.
    """
    suspects: dict[UUID, float] = {}
    while True:
        await asyncio.sleep(dead_after_s / LOOKS_PER_LIMIT)
        try:
            silent = await journal.silent(dead_after_s / 2)
        except JournalUnreachable:
            suspects = {}
            continue
        now = monotonic()
        suspects = {row.incarnation: suspects.get(row.incarnation, now) for row in silent if row.incarnation != own}
        for row in silent:
            if now - suspects.get(row.incarnation, now) >= dead_after_s / 2:
                await _fence(row, journal, dead_after_s, metrics)


async def _fence(peer: IncarnationRow, journal: Journals, dead_after_s: float, metrics: StockdMetrics) -> None:
    try:
        newly = await journal.fence(peer.incarnation)
    except JournalUnreachable as error:
        _log.warning("cannot fence a silent peer yet", peer=peer.name, reason=str(error))
        return
    if newly:
        metrics.peers_fenced.inc()
        _log.error(
            "a stock server is silent: fenced it, and its unsold units go back to the ledger",
            peer=peer.name,
            incarnation=str(peer.incarnation),
            silent_for_at_least_s=dead_after_s,
        )


async def keep_reclaiming(journal: Journals, store: StockStore, metrics: StockdMetrics) -> None:
    """Folds fenced incarnations of every name as they become due."""
    while True:
        try:
            while (incarnation := await journal.claim_reclaim(CLAIM_S)) is not None:
                await _reclaim(incarnation, journal, store, metrics)
        except Unreachable as error:
            _log.warning("cannot reclaim yet", reason=str(error))
        await asyncio.sleep(RECLAIM_POLL_S)


async def _reclaim(incarnation: UUID, journal: Journals, store: StockStore, metrics: StockdMetrics) -> None:
    units_back = 0
    async for returned in fold(await held_rows(incarnation, journal, store), store):
        units_back += returned.units
        metrics.reclaimed_units.inc(returned.units)
    await journal.reclaimed(incarnation)
    if units_back:
        _log.info("reclaimed units of a fenced incarnation", incarnation=str(incarnation), units=units_back)
