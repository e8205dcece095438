"""`python -m bench.reclaim`: how long it takes to fold what a dead stock server held, on real Cassandra and PostgreSQL.

Every SKU has one unit in the dead server's row, so each is a conditional write, as at worst.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer
import uvloop

from deploy.local import cassandra, packages, postgres
from deploy.local.ports import free_port
from journal.postgres import PostgresJournal
from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied
from stockd.reclaim import fold, held_rows
from stockd.stores.cassandra import CassandraStore

KEYSPACE = "bench_reclaim"
WRITES_AT_ONCE = 96
"""Notes are requests of their own: this is what the store lets be in flight."""

UNITS = 10
EXIT_TERMINATED = 143


def main(
    skus: Annotated[int, typer.Option(help="SKUs of which the dead server holds units")] = 100_000,
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL runs as another account
        programs = packages.require()
        port, cql_port, storage_port = free_port(), free_port(), free_port()
        node = cassandra.Node(1, 1, cql_port, storage_port)
        servers = [
            postgres.create(directory / "postgres", port, programs.postgres_bin, directory / "postgres.log"),
            cassandra.create(directory / node.name, node, programs.java, directory / "cassandra.log"),
        ]
        try:
            for server in servers:
                server.start()
            figures = uvloop.run(measure(postgres.url(port), node.contact_point, skus))
        finally:
            for server in servers:
                server.kill()
            postgres.remove(directory / "postgres")
    print(json.dumps(figures, indent=1))


async def measure(journal_url: str, contact_point: str, skus: int) -> dict[str, float]:
    journal = await PostgresJournal.open(journal_url, connections=1, timeout_s=60.0)
    store = await CassandraStore.open(contact_point, KEYSPACE, 1, "datacenter1")
    dead = uuid4()
    await journal.register("stockd-dead", dead, datetime.now(UTC))
    await _fill(store, dead, skus)
    await journal.fence(dead)
    started = time.perf_counter()
    rows = await held_rows(dead, journal, store)
    found_s = time.perf_counter() - started
    units = 0
    async for returned in fold(rows, store):
        units += returned.units
    elapsed_s = time.perf_counter() - started
    again = time.perf_counter()
    async for returned in fold(rows, store):
        assert returned.units == 0
    again_s = time.perf_counter() - again
    assert units == skus, f"{units} of {skus} units came back"
    await store.close()
    await journal.close()
    return {
        "skus": skus,
        "rows_found_s": round(found_s, 2),
        "reclaim_s": round(elapsed_s, 1),
        "folds_per_s": round(skus / elapsed_s),
        "second_sweep_s": round(again_s, 1),
    }


async def _fill(store: CassandraStore, dead: UUID, skus: int) -> None:
    """All of it written as it would have been."""
    numbers = iter(range(skus))

    async def write() -> None:
        for number in numbers:
            sku = f"article-{number:08d}"
            await store.create_sku(sku, StockPolicy.ESCROW)
            await store.restock(sku, uuid4(), UNITS)
            await store.note_held(dead, [sku])
            assert isinstance(await store.take(sku, dead, None, 1), Applied)

    await asyncio.gather(*(write() for _ in range(WRITES_AT_ONCE)))


if __name__ == "__main__":
    typer.run(main)
