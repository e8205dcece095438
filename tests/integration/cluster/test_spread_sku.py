"""A SKU that is spread over three stock servers is sold by all of them, and together they sell what there is."""

import asyncio

import asyncpg
import grpc
import pytest

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import OUT_OF_STOCK, Client, ask, order, place_all, quiet_stock, stock_of, told, until
from tests.integration.cluster.conftest import audit_whole, kill_and_start
from tests.integration.cluster.killing import place_all_until_answered

ORDERS = 1_000
UNITS = 300
POLICIES = (stock_pb2.STOCK_POLICY_EXACT, stock_pb2.STOCK_POLICY_ESCROW)


async def sellers(running: Cluster, sku: str) -> int:
    """How many stock servers have sold units of it."""
    connection = await asyncpg.connect(running.endpoints.postgres)
    try:
        query = (
            "SELECT count(DISTINCT name) FROM spends JOIN incarnations USING (incarnation) WHERE $1 = ANY (spends.skus)"
        )
        return int(await connection.fetchval(query, sku))
    finally:
        await connection.close()


@pytest.mark.parametrize("policy", POLICIES)
async def test_all_owners_together_sell_exactly_what_there_is(
    running: Cluster, clients: list[Client], name: str, policy: stock_pb2.StockPolicy
) -> None:
    for run in range(5):
        sku = f"{name}-{run}"
        await clients[0].create_sku(stock_pb2.CreateSkuRequest(sku=sku, units=UNITS, policy=policy, owners=3))
        assert (await stock_of(clients[0], sku)).owners == 3
        replies = await place_all(clients, [order({sku: 1}) for _ in range(ORDERS)])
        assert told(replies) == {ACCEPTED: UNITS, OUT_OF_STOCK: ORDERS - UNITS}
        stock = (await quiet_stock(clients[0], [sku]))[sku]
        assert (stock.sold, stock.available) == (UNITS, 0)
    assert (await audit_whole(running)).findings == []


async def test_gateways_follow_when_it_is_spread_later(running: Cluster, clients: list[Client], name: str) -> None:
    await clients[0].create_sku(
        stock_pb2.CreateSkuRequest(sku=name, units=1_000_000, policy=stock_pb2.STOCK_POLICY_ESCROW)
    )
    await place_all(clients, [order({name: 1}) for _ in range(50)])
    assert await sellers(running, name) == 1
    assert (await ask(clients[0].spread_sku, stock_pb2.SpreadSkuRequest(sku=name, owners=3))).told == ACCEPTED

    async def three_sell() -> bool:
        await place_all(clients, [order({name: 1}) for _ in range(16)])
        return await sellers(running, name) == 3

    await until("three stock servers sell it", three_sell, limit_s=10.0)
    unknown = await ask(clients[0].spread_sku, stock_pb2.SpreadSkuRequest(sku=f"{name}-unknown", owners=2))
    assert unknown.told == "SKU_NOT_FOUND"
    for owners in (0, 17):
        bad = await ask(clients[0].spread_sku, stock_pb2.SpreadSkuRequest(sku=name, owners=owners))
        assert (bad.code, bad.violations) == (grpc.StatusCode.INVALID_ARGUMENT, ("owners",))


async def test_one_of_three_owners_killed_in_the_middle(running: Cluster, clients: list[Client], name: str) -> None:
    await clients[0].create_sku(
        stock_pb2.CreateSkuRequest(sku=name, units=UNITS, policy=stock_pb2.STOCK_POLICY_ESCROW, owners=3)
    )
    orders = [order({name: 1}) for _ in range(ORDERS)]
    replies = await place_all_until_answered(clients, orders, lambda: kill_and_start(running, "stockd-1"))
    counts = told(replies)
    assert counts[ACCEPTED] + counts[OUT_OF_STOCK] == ORDERS, counts
    stock = (await quiet_stock(clients[0], [name], limit_s=40.0))[name]
    assert stock.sold == counts[ACCEPTED] <= UNITS
    await asyncio.gather(*(ask(clients[0].place_order, order({name: 1})) for _ in range(stock.available)))
    stock = (await quiet_stock(clients[0], [name]))[name]
    assert (stock.sold, stock.available) == (UNITS, 0)
    assert (await audit_whole(running)).findings == []
