"""One whole cluster for all tests of this folder, with orders divided over four journals.

SLUICE_TEST_SHARDED_CLUSTER names the directory of one that is running or is to stay up: then nothing is stopped.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.local import cluster
from deploy.local.cluster import Cluster
from deploy.local.layout import ClusterSpec
from tests.integration.buying import Client, connected
from tests.integration.cluster.conftest import START_LIMIT_S, whole_again
from tests.servers import server_directory

JOURNALS = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.servers)
            item.add_marker(pytest.mark.timeout(START_LIMIT_S))


@pytest.fixture(scope="package")
def sharded_cluster() -> Iterator[Cluster]:
    if given := os.environ.get("SLUICE_TEST_SHARDED_CLUSTER"):
        yield cluster.up(ClusterSpec(Path(given), stockds=3, gateways=2, journals=JOURNALS))
        return
    with server_directory() as directory:
        spec = ClusterSpec(directory / "cluster", stockds=3, gateways=2, journals=JOURNALS)
        try:
            yield cluster.up(spec)
        finally:
            cluster.down(spec.directory, purge=True)


@pytest.fixture
def running(sharded_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, whole; and whole again after the test, whatever the test broke and however it ended."""
    yield sharded_cluster
    asyncio.run(whole_again(sharded_cluster))


@pytest.fixture
async def clients(running: Cluster) -> AsyncIterator[list[Client]]:
    """Eight connections, in turn to each gateway."""
    async with connected(running.endpoints.gateways, 8) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    """For SKUs and customers that no other test has."""
    return uuid4().hex[:12]
