"""kill -9 of a stock server in the middle of a burst: its units come back when its name starts again."""

from functools import partial

from deploy.local.cluster import Cluster
from tests.integration.buying import Client
from tests.integration.cluster.conftest import kill_and_start
from tests.integration.cluster.killing import burst_while, sell_the_rest


async def test_orders_and_units_survive_a_killed_stock_server(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await burst_while(running, clients, name, partial(kill_and_start, running, "stockd-1"))
    await sell_the_rest(clients, name)
