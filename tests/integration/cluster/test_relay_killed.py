"""kill -9 of the relay in the middle of a burst: every accepted order's event is on Kafka, once by its position."""

from deploy.local.cluster import Cluster
from tests.integration.buying import Client
from tests.integration.cluster.conftest import kill_and_start
from tests.integration.cluster.killing import burst_while

KILLS = 3


async def test_events_survive_a_relay_that_is_killed_again_and_again(
    running: Cluster, clients: list[Client], name: str
) -> None:
    async def kill_relay() -> None:
        for _ in range(KILLS):
            await kill_and_start(running, "relay-0")

    await burst_while(running, clients, name, kill_relay)
