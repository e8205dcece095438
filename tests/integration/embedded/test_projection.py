"""The projection inside the one process: it says what is sold, across kill -9, and shows the last changes."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import ask, connected, create_skus, order, place_all, told, until
from tests.integration.embedded.conftest import Embedded, make_embedded


def shown(embedded: Embedded, sku: str) -> Any:
    """None if nothing is known of it."""
    command = (sys.executable, "-m", "commands.main", "projection", "show", sku, "--json")
    done = subprocess.run(
        [*command, "--data-dir", str(embedded.data_dir)], check=False, capture_output=True, text=True, timeout=60
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


async def test_what_is_sold_is_projected_across_a_kill(tmp_path: Path) -> None:
    embedded = make_embedded(tmp_path, "--consumers", "compensation,projection")
    embedded.process.start()
    try:
        requests = [order({"tea": 2, "cup": 1}) for _ in range(60)]
        async with connected([embedded.endpoint], 4) as clients:
            await create_skus(clients[0], ("tea", "cup"), 1_000)
            assert told(await place_all(clients, requests)) == {ACCEPTED: 60}
            await asyncio.to_thread(embedded.process.kill)
            await asyncio.to_thread(embedded.process.start)
        async with connected([embedded.endpoint], 4) as clients:
            for request in requests[:10]:
                await ask(clients[0].cancel_order, orders_pb2.CancelOrderRequest(order_id=request.order_id))

            async def all_projected() -> bool:
                tea, cup = [await asyncio.to_thread(shown, embedded, sku) for sku in ("tea", "cup")]
                return tea is not None and cup is not None and (tea["sold"], cup["sold"]) == (100, 50)

            await until("what is sold and not returned is projected", all_projected)
        tea = shown(embedded, "tea")
        assert [change["delta"] for change in tea["changes"]] == [2] * 10
        assert {change["order_id"] for change in tea["changes"]} == {each.order_id for each in requests[:10]}
        assert sum(state["changes"] for state in tea["states"]) == 70
        assert shown(embedded, "unknown") is None
    finally:
        await asyncio.to_thread(embedded.process.terminate)
