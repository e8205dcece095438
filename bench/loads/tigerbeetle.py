"""One TigerBeetle client in Python: batches of pending transfers on one hot account, as fast as they are answered.

This is TigerBeetle without any server of ours before it: what its own users reach from Python.
"""

import time
from dataclasses import dataclass
from uuid import UUID

import tigerbeetle as tb

from bench.latencies import Latencies
from bench.peers.tigerbeetle_pending import CLUSTER, open_peer, pending, stands
from bench.workers import say_ready, say_result
from sluice.client.order_ids import new_order_id


@dataclass(frozen=True)
class Load:
    """`transfers` in batches of `batch`; a client has one request in flight, so more of them need more clients."""

    endpoint: str
    sku: str
    units: int
    batch: int
    warm_transfers: int
    transfers: int


async def drive(load: Load) -> None:
    peer = await open_peer(load.endpoint)
    await peer.add_stock(load.sku, load.units)
    await peer.close()
    client = tb.ClientAsync(CLUSTER, load.endpoint)
    for batch in _batches(load, load.warm_transfers):
        await client.create_transfers(batch)
    # As with streams: what is to be sent is put together before the clock starts.
    batches = _batches(load, load.transfers)
    say_ready()
    latencies = Latencies()
    accepted = 0
    started = time.perf_counter()
    for batch in batches:
        sent = time.perf_counter()
        results = await client.create_transfers(batch)
        latencies.add_s(time.perf_counter() - sent)
        accepted += sum(stands(result.status) for result in results)
    elapsed_s = time.perf_counter() - started
    say_result(
        {
            "accepted": accepted,
            "refused": {},
            "elapsed_s": elapsed_s,
            "orders_per_s": accepted / elapsed_s,
            "latency_ms": latencies.in_ms(),
        }
    )
    await client.close()


def _batches(load: Load, transfers: int) -> list[list[tb.Transfer]]:
    made = [pending(UUID(new_order_id()).int, load.sku, 1) for _ in range(transfers)]
    return [made[first : first + load.batch] for first in range(0, transfers, load.batch)]
