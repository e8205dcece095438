"""One of four journals away: orders of the others go on, its own hear so in time, nothing is lost when it is back."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice.settings import parse_journal_urls
from sluice.sharding import shard_of
from tests.integration.buying import (
    Client,
    Reply,
    accepted,
    ask,
    create_skus,
    order,
    place_until_answered,
    quiet_stock,
    stock_of,
    units_of,
    until,
)
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.load import check_told_to_come_back, steady_load
from tests.integration.sharded_cluster.conftest import JOURNALS

SKUS = 6
PLENTY = 100_000
WITHIN_S = 2.0
AWAY_S = 6.0
"""Longer than every time limit between a buyer and the journal, and than the grace of reservations."""

BACK_LIMIT_S = 10.0


def of_shard(reply: Reply) -> int:
    return shard_of(reply.request.order_id, JOURNALS)


@asynccontextmanager
async def without_journal(running: Cluster, number: int) -> AsyncIterator[None]:
    """Its database throws everybody out and lets nobody in; the others on the same server are as ever."""
    url = parse_journal_urls(running.endpoints.postgres)[number]
    database = url.rpartition("/")[2]
    connection = await asyncpg.connect(url.removesuffix(database) + "postgres")
    try:
        await connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        await connection.close()


async def settle_and_check(running: Cluster, clients: list[Client], skus: list[str], replies: list[Reply]) -> None:
    """Who was told UNAVAILABLE sends the same order again; then all that stands is what buyers were told."""
    refused = [reply for reply in replies if reply.told != ACCEPTED]
    again = await asyncio.gather(
        *(place_until_answered(clients, reply.request, number) for number, reply in enumerate(refused))
    )
    assert {reply.told for reply in again} <= {ACCEPTED}
    bought = units_of(accepted([*replies, *again]))
    for sku, stock in (await quiet_stock(clients[0], skus, limit_s=40.0)).items():
        assert stock.sold == bought[sku], sku
    assert (await audit_whole(running)).findings == []


async def test_only_its_own_orders_wait_for_it(running: Cluster, clients: list[Client], name: str) -> None:
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(clients[0], skus, PLENTY)
    async with steady_load(clients, skus) as load:
        await asyncio.sleep(1.0)
        away = time.monotonic()
        async with without_journal(running, 2):
            await asyncio.sleep(AWAY_S)
            assert all([await client.serving() for client in clients[:2]]), "there are orders to take"
            back = time.monotonic()
        await until("journal 2 takes orders again", lambda: _takes(clients, 2), limit_s=BACK_LIMIT_S)
        served = time.monotonic()
        await asyncio.sleep(1.5)

    replies = load.since(0)
    refused = [reply for reply in replies if reply.told != ACCEPTED]
    assert {of_shard(reply) for reply in refused} == {2}
    check_told_to_come_back(refused, "JOURNAL_UNREACHABLE", WITHIN_S)
    for reply in load.since(away + WITHIN_S, back - WITHIN_S):
        assert reply.told == ("JOURNAL_UNREACHABLE" if of_shard(reply) == 2 else ACCEPTED)
    assert {reply.told for reply in load.since(served + 0.5)} == {ACCEPTED}
    others = [reply.latency_s for reply in load.since(away, back) if of_shard(reply) != 2]
    assert sorted(others)[int(len(others) * 0.95)] < 1.0, "buyers of the other journals waited for it"
    await settle_and_check(running, clients, skus, [*replies])


async def test_a_stock_server_that_dies_meanwhile_is_folded_when_the_journal_is_back_and_not_before(
    running: Cluster, clients: list[Client], name: str
) -> None:
    """What it sold is not final before it is fenced everywhere."""
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(clients[0], skus, PLENTY)
    async with steady_load(clients, skus) as load:
        await asyncio.sleep(1.0)
        async with without_journal(running, 3):
            await asyncio.to_thread(running.process("stockd-1").kill)
            await asyncio.sleep(running.spec.peer_dead_after_s + AWAY_S)
            read = await ask(lambda _, timeout: stock_of(clients[0], skus[0]), None, 5.0)
            assert read.told == "JOURNAL_UNREACHABLE", "a sum over all journals needs them all"
        await until("journal 3 takes orders again", lambda: _takes(clients, 3), limit_s=BACK_LIMIT_S)
    await asyncio.to_thread(running.process("stockd-1").start)
    replies = load.since(0)
    told = {reply.told for reply in replies if of_shard(reply) != 3}
    assert told <= {ACCEPTED, "STOCK_UNREACHABLE"}, told
    await settle_and_check(running, clients, skus, [*replies])


async def _takes(clients: list[Client], number: int) -> bool:
    """Both gateways place an order there."""
    probes = []
    for client in clients[:2]:
        probe = order({"no-such-sku": 1})
        while shard_of(probe.order_id, JOURNALS) != number:
            probe = order({"no-such-sku": 1})
        probes.append(await ask(client.place_order, probe))
    return all(reply.told == "SKU_NOT_FOUND" for reply in probes)
