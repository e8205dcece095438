"""The real servers, each started when the first test asks for it, unless SLUICE_TEST_* points at a running one."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.servers import make_cassandra, make_kafka, make_postgres, make_redis, running, server_directory

# The first test that asks for a server pays for its start, and with an empty cache for a download.
_SERVERS_TIMEOUT_S = 300

# How long an example takes says how busy the machine is, and nothing of the promise.
settings.register_profile("sluice", deadline=None)
settings.load_profile("sluice")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("servers") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SERVERS_TIMEOUT_S))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """`postgresql://...` of a database whose role may create and drop databases and schemas."""
    if given := os.environ.get("SLUICE_TEST_POSTGRES_URL"):
        yield given
        return
    with server_directory() as directory:
        process, url = make_postgres(directory)
        with running(process):
            yield url


@pytest.fixture(scope="session")
def cassandra_contact_points() -> Iterator[str]:
    """`host:port`, comma separated when there are several; the form of SLUICE_CASSANDRA."""
    if given := os.environ.get("SLUICE_TEST_CASSANDRA"):
        yield given
        return
    with server_directory() as directory:
        process, contact_points = make_cassandra(directory)
        with running(process):
            yield contact_points


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """`host:port`, the form of SLUICE_KAFKA. Topics are not made automatically."""
    if given := os.environ.get("SLUICE_TEST_KAFKA"):
        yield given
        return
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield bootstrap


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """`redis://...` of a server that syncs its log before it answers."""
    if given := os.environ.get("SLUICE_TEST_REDIS_URL"):
        yield given
        return
    with server_directory() as directory:
        process, url = make_redis(directory)
        with running(process):
            yield url
