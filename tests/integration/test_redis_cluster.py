"""A whole cluster with its ledger in Redis: the same promises, also when Redis is killed in the middle of a sale."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from uuid import uuid4

import pytest

from commands.burst import ACCEPTED, new_orders
from commands.burst import Clients as Buyers
from deploy.local import cluster
from deploy.local.cluster import Cluster
from deploy.local.layout import ClusterSpec
from tests.integration.buying import OUT_OF_STOCK, Client, connected, quiet_stock
from tests.integration.cluster.conftest import audit_whole, kill_and_start
from tests.integration.cluster.killing import burst_while, sell_the_rest
from tests.servers import server_directory

pytestmark = [pytest.mark.servers, pytest.mark.timeout(420)]

ORDERS = 1_000
UNITS = 300


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[Cluster]:
    with server_directory() as directory:
        spec = ClusterSpec(directory / "cluster", store="redis", stockds=2, gateways=2)
        try:
            yield cluster.up(spec)
        finally:
            cluster.down(spec.directory, purge=True)


@pytest.fixture
async def clients(redis_cluster: Cluster) -> AsyncIterator[list[Client]]:
    async with connected(redis_cluster.endpoints.gateways, 8) as opened:
        yield opened


def test_there_is_a_redis_and_no_cassandra(redis_cluster: Cluster) -> None:
    assert "redis" in redis_cluster.names
    assert not [name for name in redis_cluster.names if name.startswith("cassandra")]
    assert redis_cluster.endpoints.cassandra == ""


async def test_exactly_as_many_orders_are_accepted_as_there_are_units(redis_cluster: Cluster) -> None:
    sku = uuid4().hex[:12]
    buyers = Buyers(redis_cluster.endpoints.gateways, 8)
    try:
        await buyers.connect()
        await buyers.create_skus([sku], UNITS)
        burst = await buyers.place_all(new_orders(ORDERS, [sku]))
        assert burst.told() == {ACCEPTED: UNITS, OUT_OF_STOCK: ORDERS - UNITS}
    finally:
        await buyers.close()
    async with connected(redis_cluster.endpoints.gateways) as (client, _):
        stock = (await quiet_stock(client, [sku]))[sku]
    assert (stock.sold, stock.available) == (UNITS, 0)
    assert (await audit_whole(redis_cluster)).findings == []


async def test_orders_and_units_survive_a_killed_redis(redis_cluster: Cluster, clients: list[Client]) -> None:
    name = uuid4().hex[:12]
    await burst_while(redis_cluster, clients, name, partial(kill_and_start, redis_cluster, "redis"))
    await sell_the_rest(clients, name)


async def test_what_a_killed_stock_server_held_comes_back(redis_cluster: Cluster, clients: list[Client]) -> None:
    name = uuid4().hex[:12]
    await burst_while(redis_cluster, clients, name, partial(kill_and_start, redis_cluster, "stockd-1"))
    await asyncio.to_thread(redis_cluster.process("stockd-1").wait_until, redis_cluster.process("stockd-1").answers)
    await sell_the_rest(clients, name)
