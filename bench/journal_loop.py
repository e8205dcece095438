"""The other ceiling: the bare journal function, called in loops with the rows that a gateway would send it.

See `JournalLoop` for its settings. Rows and events are put together before the clock starts.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import uvloop

from bench.orders import OrderSource
from bench.workers import read_settings, say_ready, say_result
from commands.process import GC_THRESHOLDS
from journal.events import encode_order_events
from journal.postgres import PostgresJournal
from journal.protocol import Batch, Committed, Journal, Spend
from journal.sqlite import SqliteJournal
from sluice.model import units_by_sku
from sluice.sqlite_file import SqliteFile

COMMIT_TIMEOUT_S = 30.0
"""The product's own limit is for callers who wait; here only the rate counts."""


@dataclass(frozen=True)
class JournalLoop:
    """`loops` loops at once; `warm_batches`, then `batches`, of `batch` orders and one spend each.

    `target`: a PostgreSQL URL, or the path of an SQLite file.
    """

    target: str
    skus: list[str]
    batch: int
    loops: int
    warm_batches: int
    batches: int


async def drive(settings: JournalLoop) -> None:
    if settings.target.startswith("postgresql://"):
        await _run(settings, await _open_postgres(settings))
        return
    file = await SqliteFile.open(Path(settings.target))
    try:
        await _run(settings, await SqliteJournal.open(file))
    finally:
        await file.close()


async def _open_postgres(settings: JournalLoop) -> Journal:
    return await PostgresJournal.open(settings.target, connections=settings.loops, timeout_s=COMMIT_TIMEOUT_S)


async def _run(settings: JournalLoop, journal: Journal) -> None:
    incarnation = uuid4()
    await journal.register("bench", incarnation, datetime.now(UTC))
    source = OrderSource(settings.skus)
    total = settings.warm_batches + settings.batches
    batches = [_batch(source, settings.batch, incarnation, seq) for seq in range(1, total + 1)]
    await _commit_all(journal, iter(batches[: settings.warm_batches]), settings.loops)
    say_ready()
    started = time.perf_counter()
    await _commit_all(journal, iter(batches[settings.warm_batches :]), settings.loops)
    elapsed_s = time.perf_counter() - started
    orders = settings.batches * settings.batch
    say_result({"accepted": orders, "refused": {}, "elapsed_s": elapsed_s, "orders_per_s": orders / elapsed_s})
    await journal.close()


def _batch(source: OrderSource, orders: int, incarnation: UUID, seq: int) -> Batch:
    now = datetime.now(UTC)
    rows = source.rows(orders)
    events, event_count = encode_order_events(rows, now)
    return Batch(rows, [Spend(incarnation, seq, units_by_sku(rows))], events, event_count, now)


async def _commit_all(journal: Journal, batches: Iterator[Batch], loops: int) -> None:
    async def loop() -> None:
        for batch in batches:  # shared: each batch is taken once
            result = await journal.commit(batch)
            if not isinstance(result, Committed):
                raise SystemExit(f"the journal refused a batch: {result}")

    await asyncio.gather(*(loop() for _ in range(loops)))


if __name__ == "__main__":
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(drive(JournalLoop(**read_settings())))
