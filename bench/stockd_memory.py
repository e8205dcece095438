"""`python -m bench.stockd_memory`: what a stock server keeps in memory for the SKUs that it was asked for.

The engine runs as it does in a stock server, on a ledger that costs no memory of its own: it grants what is asked for
and keeps nothing. One figure is of SKUs that have sold and hold nothing, one of SKUs that hold units, and one of
reservations that nobody has settled yet.
"""

import asyncio
import gc
import json
import resource
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import UUID

import typer
from prometheus_client import CollectorRegistry

import commands.stockd  # noqa: F401 - a stock server has all of this in memory, too
from sluice.model import StockPolicy
from sluice.seams.stock_keeper import ReserveBatch, Settlement
from sluice.seams.stock_store import Applied, Head, Row
from stockd.engine import Engine
from stockd.metrics import StockdMetrics

INCARNATION = UUID(int=1)
BATCH = 500
UNITS = 1_000_000


class GenerousStore:
    """Every SKU exists and has plenty; every write is applied."""

    skus_at_once = 512

    async def head(self, sku: str) -> Head:
        del sku
        return Head(StockPolicy.ESCROW, UNITS)

    async def take(self, sku: str, incarnation: UUID, before: Row | None, count: int) -> Applied:
        del sku, incarnation, before, count
        return Applied()

    async def note_held(self, incarnation: UUID, skus: Sequence[str]) -> None:
        del incarnation, skus


class QuietJournal:
    """Nobody is fenced and nothing is decided."""

    shard = 0

    @property
    def shards(self) -> Sequence[Self]:
        return (self,)

    async def incarnations(self) -> Sequence[Any]:
        return ()

    async def close_reservations(
        self, incarnation: UUID, seqs: Sequence[int], now: datetime
    ) -> Mapping[int, Mapping[str, int]]:
        del incarnation, seqs, now
        return {}


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main(
    skus: Annotated[int, typer.Option(help="SKUs that were asked for and hold units")] = 1_000_000,
    reservations: Annotated[int, typer.Option(help="reservations that nobody has settled")] = 100_000,
) -> None:
    print(json.dumps(asyncio.run(measure(skus, reservations)), indent=1))


async def measure(skus: int, reservations: int) -> dict[str, float]:
    engine = Engine(
        incarnation=INCARNATION,
        store=GenerousStore(),  # type: ignore[arg-type]  # what an engine uses of one
        journal=QuietJournal(),  # type: ignore[arg-type]
        monotonic=time.monotonic,
        cpu_s=time.thread_time,
        reservation_grace_s=1e9,
        store_timeout_s=60.0,
        max_waiting_orders=100_000,
        owners=1,
        metrics=StockdMetrics(CollectorRegistry()),
    )
    gc.collect()
    empty_mb = resident_mb()
    for first in range(0, skus, BATCH):
        # A reader of gRPC messages makes every name anew, too.
        names = [f"article-{number:012d}" for number in range(first, min(first + BATCH, skus))]
        quantities = [1] * len(names)
        reservation = await engine.reserve(ReserveBatch(names, (), range(len(names)), quantities), (), 60.0)
        await engine.settle([Settlement(INCARNATION, reservation.seq, {})], 1.0)
    holding_mb = resident_mb()
    held = engine.units_free()
    started = time.perf_counter()
    engine.return_unsold()
    sweep_s = time.perf_counter() - started
    for number in range(reservations):
        await engine.reserve(ReserveBatch([f"article-{number % skus:012d}"], (), [0], [1]), (), 60.0)
    return {
        "skus": skus,
        "units_held": held,
        "empty_mb": round(empty_mb, 1),
        "with_skus_mb": round(holding_mb, 1),
        "bytes_per_sku": round((holding_mb - empty_mb) * 1e6 / skus),
        "open_reservations": engine.open_reservations(),
        "with_reservations_mb": round(resident_mb(), 1),
        "bytes_per_reservation": round((resident_mb() - holding_mb) * 1e6 / max(reservations, 1)),
        "look_for_unsold_s": round(sweep_s, 3),
    }


if __name__ == "__main__":
    typer.run(main)
