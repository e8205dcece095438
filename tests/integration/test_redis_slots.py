"""Every operation touches one slot at a time, which is what a Redis Cluster demands of a script."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from deploy.local.processes import Process
from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Row, SkuSummary
from stockd.stores.redis import RedisStore
from tests.servers import make_redis, running

pytestmark = pytest.mark.servers


async def test_a_server_in_cluster_mode_runs_every_operation(tmp_path: Path) -> None:
    alone, url = make_redis(tmp_path)
    command = replace(alone.command, argv=(*alone.command.argv, "--cluster-enabled", "yes"))
    with running(Process(command, alone.answers)):
        async with Redis.from_url(url, decode_responses=True) as client:
            await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        # The server takes a moment to see that all slots are served, and declines until then; `open` waits for it.
        store = await RedisStore.open(url, "slots")
        skus = ["plain", "{tag}-1", "}{", "{}"]
        for sku in skus:
            incarnation = uuid4()
            assert await store.create_sku(sku, StockPolicy.ESCROW) is None
            assert await store.restock(sku, uuid4(), 9) == Applied()
            await store.note_held(incarnation, [sku])
            assert await store.take(sku, incarnation, None, 5) == Applied()
            assert await store.fold(sku, incarnation, Row(5, 1), 2) == Applied()
            ledger = await store.read(sku, Consistency.STRONG)
            assert ledger is not None
            assert (ledger.available, ledger.held) == (7, {incarnation: Row(2, 2)})
        page = await store.list_skus(None, 10)
        assert page.skus == [SkuSummary(sku, StockPolicy.ESCROW, 7) for sku in sorted(skus)]
        await store.close()
