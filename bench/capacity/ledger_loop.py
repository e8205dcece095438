"""`python -m bench.capacity.ledger_loop`: conditional writes to the ledger and nothing else, each as a stock server
makes it: one in flight for each SKU and writer.
"""

import asyncio
import time
from dataclasses import dataclass
from uuid import uuid4

import uvloop

from bench.workers import read_settings, say_ready, say_result
from sluice.errors import StoreUnreachable
from sluice.seams.stock_store import Applied, Row
from stockd.stores.cassandra import CassandraStore


@dataclass(frozen=True)
class LedgerLoop:
    """Every SKU gets so many `writers`, each with a row of its own."""

    cassandra: str
    keyspace: str
    local_dc: str
    skus: list[str]
    writers: int
    warm_s: float
    seconds: float


async def drive(settings: LedgerLoop) -> None:
    store = await CassandraStore.open_standing(settings.cassandra, settings.keyspace, settings.local_dc)
    rows: dict[int, Row] = {}
    incarnations = [uuid4() for _ in range(settings.writers)]
    places = [(sku, incarnation) for sku in settings.skus for incarnation in incarnations]

    async def write_for(seconds: float) -> tuple[int, int, float]:
        answered = unanswered = 0
        started = time.perf_counter()

        async def writing(place: int) -> None:
            nonlocal answered, unanswered
            sku, incarnation = places[place]
            while time.perf_counter() < started + seconds:
                before = rows.get(place)
                after = Row((before.units if before else 0) + 1, (before.version if before else 0) + 1)
                try:
                    outcome = await store.take(sku, incarnation, before, 1)
                except StoreUnreachable:
                    unanswered += 1
                    continue
                # A refusal that shows what was wanted: the try before, which nobody answered, had been applied.
                if not isinstance(outcome, Applied) and getattr(outcome, "row", None) != after:
                    raise SystemExit(f"the ledger refused a write: {outcome}")
                rows[place] = after
                answered += 1

        await asyncio.gather(*(writing(place) for place in range(len(places))))
        return answered, unanswered, time.perf_counter() - started

    await write_for(settings.warm_s)
    say_ready()
    answered, unanswered, elapsed_s = await write_for(settings.seconds)
    say_result({"writes": answered, "unanswered": unanswered, "elapsed_s": elapsed_s})
    await store.close()


if __name__ == "__main__":
    uvloop.run(drive(LedgerLoop(**read_settings())))
