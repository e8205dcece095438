"""One whole cluster for all tests of this folder: 2 gateways, 3 stock servers, a relay and the real servers.

SLUICE_TEST_CLUSTER names the directory of one that is running or is to stay up: then nothing is stopped at the end.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from audit.running import AuditReport, run_audit
from commands.audit import cluster_parts
from deploy.local import cluster
from deploy.local.cluster import Cluster
from deploy.local.layout import ClusterSpec
from deploy.local.services import stock_store
from tests.integration.buying import Client, connected, until
from tests.integration.scraping import scraped
from tests.servers import server_directory

START_LIMIT_S = 420
"""The first test starts the cluster, with an empty cache after a download."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.servers)
            item.add_marker(pytest.mark.timeout(START_LIMIT_S))


@pytest.fixture(scope="package")
def sluice_cluster() -> Iterator[Cluster]:
    if given := os.environ.get("SLUICE_TEST_CLUSTER"):
        yield cluster.up(ClusterSpec(Path(given), stockds=3, gateways=2))
        return
    with server_directory() as directory:
        spec = ClusterSpec(directory / "cluster", stockds=3, gateways=2)
        try:
            yield cluster.up(spec)
        finally:
            cluster.down(spec.directory, purge=True)


@pytest.fixture
def running(sluice_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, whole; and whole again after the test, whatever the test broke and however it ended."""
    yield sluice_cluster
    asyncio.run(whole_again(sluice_cluster))


async def whole_again(running: Cluster) -> None:
    processes = [running.process(name) for name in running.names]
    for process in processes:
        process.cont()
    for process in processes:
        if not process.alive:
            process.start()
    for process in processes:
        process.wait_until(process.answers)
    await until("the gateways reach all stock servers", partial(_all_reached, running), limit_s=30.0)


async def _all_reached(running: Cluster) -> bool:
    for gateway in running.spec.names("gateway"):
        shown = await scraped(running.metrics(gateway))
        if not all(shown[f'sluice_gateway_stockd_answers{{stockd="{name}"}}'] for name in running.spec.names("stockd")):
            return False
    return True


@pytest.fixture
async def clients(running: Cluster) -> AsyncIterator[list[Client]]:
    """Eight connections, in turn to each gateway."""
    async with connected(running.endpoints.gateways, 8) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    """For SKUs and customers that no other test has."""
    return uuid4().hex[:12]


async def audit_whole(running: Cluster) -> AuditReport:
    """The audit once the relay has caught up: what it finds missing on the log is missing."""
    found = running.endpoints
    async with cluster_parts(found.postgres, stock_store(found), found.kafka) as parts:

        async def caught_up() -> bool:
            return (await parts.journal.backlog()).rows == 0

        await until("the relay has caught up", caught_up, limit_s=60.0)
        return await run_audit(parts.journal, parts.store, parts.log)


async def kill_and_start(running: Cluster, process_name: str) -> None:
    """kill -9, and the same process again at once."""
    process = running.process(process_name)
    await asyncio.to_thread(process.kill)
    await asyncio.to_thread(process.start)
