"""Counter SKUs in a whole cluster: oversold within the bound by three stock servers, sold while Cassandra is away, and
never miscounted for long.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from commands.audit import cluster_parts
from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from deploy.local.layout import address
from deploy.local.ports import free_port
from deploy.local.processes import Process
from deploy.local.services import serves, stock_store
from sluice._gen.stock.v1 import stock_pb2
from sluice.stock_servers import parse_members
from stockd.counter_repair import CounterDrift, counter_drift
from tests.integration.buying import (
    OUT_OF_STOCK,
    Client,
    accepted,
    connected,
    create_skus,
    order,
    place_all,
    place_all_until_answered,
    stock_of,
    told,
    until,
)
from tests.integration.cluster.conftest import audit_whole, kill_and_start

SKUS = 10
UNITS = 30
POLICY = "STOCK_POLICY_COUNTER"


@pytest.fixture
async def one_to_each(running: Cluster, tmp_path: Path) -> AsyncIterator[list[Client]]:
    """A connection to each of three gateways more, of which each knows one stock server."""
    known = running.process("gateway-0").command
    members = parse_members(known.environment["SLUICE_STOCKD"])
    gateways = []
    endpoints = []
    for name, stockd in members.items():
        port = free_port()
        endpoints.append(address(port))
        environment = {
            **known.environment,
            "SLUICE_STOCKD": f"{name}={stockd}",
            "SLUICE_LISTEN": address(port),
            "SLUICE_METRICS_LISTEN": address(0),
        }
        command = replace(
            known,
            name=f"gateway-of-{name}",
            environment=environment,
            log=tmp_path / f"{name}.log",
            listens=(("127.0.0.1", port),),
        )
        gateways.append(Process(command, partial(serves, endpoints[-1])))
    try:
        await asyncio.gather(*(asyncio.to_thread(gateway.start) for gateway in gateways))
        async with connected(endpoints) as clients:
            yield clients
    finally:
        for gateway in gateways:
            gateway.kill()


@pytest.fixture
def uncompensated(running: Cluster) -> Iterator[None]:
    """Nobody cancels what is oversold before the test has counted it."""
    consumers = running.process("consume-0")
    consumers.stop()
    yield
    consumers.cont()


@pytest.mark.usefixtures("uncompensated")
async def test_three_stock_servers_oversell_a_burst_and_stay_below_the_bound(
    running: Cluster, one_to_each: list[Client], name: str
) -> None:
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(one_to_each[0], skus, UNITS, POLICY)
    oversold = 0
    for sku in skus:
        replies = await place_all(one_to_each, [order({sku: 1}) for _ in range(6 * UNITS)])
        assert told(replies).keys() == {ACCEPTED, OUT_OF_STOCK}
        stock = await stock_of(one_to_each[0], sku)
        assert UNITS <= stock.sold == len(accepted(replies)) <= UNITS + stock.max_oversell
        oversold += stock.sold - UNITS
    assert oversold > 0, "three servers that read every 100 ms cannot see each other's last sales"
    await until("all that was sold is counted", partial(_all_counted, running, skus), limit_s=5.0)
    assert (await audit_whole(running)).findings == []


@pytest.mark.usefixtures("uncompensated")
async def test_spread_over_three_stock_servers_it_is_oversold_within_the_bound(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await clients[0].create_sku(
        stock_pb2.CreateSkuRequest(sku=name, units=10 * UNITS, policy=stock_pb2.STOCK_POLICY_COUNTER, owners=3)
    )
    replies = await place_all(clients, [order({name: 1}) for _ in range(30 * UNITS)])
    assert told(replies).keys() == {ACCEPTED, OUT_OF_STOCK}
    stock = await stock_of(clients[0], name)
    assert stock.owners == 3
    assert 10 * UNITS <= stock.sold == len(accepted(replies)) <= 10 * UNITS + stock.max_oversell
    await until("all that was sold is counted", partial(_all_counted, running, [name]), limit_s=5.0)


@pytest.mark.usefixtures("uncompensated")
async def test_a_killed_stock_server_leaves_no_drift(running: Cluster, clients: list[Client], name: str) -> None:
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(clients[0], skus, UNITS, POLICY)
    orders = [order({sku: 1}) for _ in range(2 * UNITS) for sku in skus]
    replies = await place_all_until_answered(clients, orders, partial(kill_and_start, running, "stockd-1"))
    for sku in skus:
        stock = await stock_of(clients[0], sku)
        assert UNITS <= stock.sold <= UNITS + stock.max_oversell
    assert sum([(await stock_of(clients[0], sku)).sold for sku in skus]) == len(accepted(replies))
    await until("what it sold is stated", partial(_all_counted, running, skus), limit_s=15.0)
    assert (await audit_whole(running)).findings == []


async def test_with_cassandra_frozen_orders_are_accepted_until_the_cap(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], 10_000, POLICY)
    assert told(await place_all(clients, [order({name: 1})])) == {ACCEPTED: 1}
    cassandra = running.process("cassandra-1")
    await asyncio.to_thread(cassandra.stop)
    try:
        replies = [
            reply for _ in range(30) for reply in await place_all(clients, [order({name: 1}) for _ in range(50)])
        ]
    finally:
        await asyncio.to_thread(cassandra.cont)
    answers = told(replies)
    assert answers.keys() == {ACCEPTED, "STOCK_UNREACHABLE"}
    assert 900 <= answers[ACCEPTED] <= 1_000
    assert max(reply.latency_s for reply in replies) < 2.0
    await until("the sale goes on", partial(_sells, clients, name), limit_s=20.0)
    await until("all that was sold is counted", partial(_all_counted, running, [name]), limit_s=20.0)


async def _sells(clients: Sequence[Client], sku: str) -> bool:
    return told(await place_all(clients, [order({sku: 1})])) == {ACCEPTED: 1}


async def _all_counted(running: Cluster, skus: Sequence[str]) -> bool:
    found = running.endpoints
    async with cluster_parts(found.postgres, stock_store(found), found.kafka) as parts:
        drifts = [await counter_drift(sku, parts.journal, parts.store) for sku in skus]
        return all(drift == CounterDrift({}, {}, {}) for drift in drifts)
