"""kill -9 in the middle of a burst over four journals: nothing that was accepted is lost, nothing is sold twice."""

import asyncio
from functools import partial

from deploy.local.cluster import Cluster
from tests.integration.buying import Client
from tests.integration.cluster.conftest import kill_and_start
from tests.integration.cluster.killing import burst_while, sell_the_rest


async def test_orders_and_units_survive_a_killed_gateway(running: Cluster, clients: list[Client], name: str) -> None:
    await burst_while(running, clients, name, partial(kill_and_start, running, "gateway-0"))
    await sell_the_rest(clients, name)


async def test_orders_and_units_survive_a_killed_stock_server(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await burst_while(running, clients, name, partial(kill_and_start, running, "stockd-1"))
    await sell_the_rest(clients, name)


async def test_peers_fence_a_dead_stock_server_in_all_journals_and_fold_what_it_held(
    running: Cluster, clients: list[Client], name: str
) -> None:
    """Nobody starts it again."""
    await burst_while(running, clients, name, partial(asyncio.to_thread, running.process("stockd-2").kill))
    await sell_the_rest(clients, name)


async def test_all_events_get_to_kafka_when_the_relay_is_killed(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await burst_while(running, clients, name, partial(kill_and_start, running, "relay-0"))
