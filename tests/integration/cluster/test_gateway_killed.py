"""kill -9 of a gateway in the middle of a burst: nothing that was accepted is lost, nothing is sold twice."""

from functools import partial

from deploy.local.cluster import Cluster
from tests.integration.buying import Client
from tests.integration.cluster.conftest import kill_and_start
from tests.integration.cluster.killing import burst_while, sell_the_rest


async def test_orders_and_units_survive_a_killed_gateway(running: Cluster, clients: list[Client], name: str) -> None:
    await burst_while(running, clients, name, partial(kill_and_start, running, "gateway-0"))
    await sell_the_rest(clients, name)
