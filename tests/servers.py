"""Real servers for tests: in a directory of their own, on free ports, gone when the session ends."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import cassandra, kafka, packages, postgres, redis
from deploy.local.ports import free_port
from deploy.local.processes import Process


@contextmanager
def server_directory() -> Iterator[Path]:
    # pytest's own temporary directories are closed to the account that PostgreSQL runs as.
    directory = Path(tempfile.mkdtemp(prefix="sluice-test-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        postgres.remove(directory / "postgres")
        shutil.rmtree(directory)


@contextmanager
def running(process: Process) -> Iterator[Process]:
    try:
        process.start()
        yield process
    finally:
        # A test's server has nothing to save.
        process.kill()


def make_postgres(directory: Path) -> tuple[Process, str]:
    """A PostgreSQL that is not started yet, and its URL."""
    port = free_port()
    process = postgres.create(directory / "postgres", port, packages.require().postgres_bin, directory / "postgres.log")
    return process, postgres.url(port)


def make_cassandra(directory: Path) -> tuple[Process, str]:
    """A lone Cassandra node that is not started yet, and its contact point as `host:port`."""
    cql_port = free_port()
    node = cassandra.Node(index=1, count=1, cql_port=cql_port, storage_port=free_port(taken=[cql_port]))
    process = cassandra.create(directory / node.name, node, packages.require().java, directory / "cassandra.log")
    return process, node.contact_point


def make_kafka(directory: Path) -> tuple[Process, str]:
    """A Kafka broker that is not started yet, and its bootstrap address as `host:port`."""
    port = free_port()
    brokers = kafka.alone(port, free_port(taken=[port]))
    process = kafka.create(directory / "kafka", brokers, 0, packages.require().java, directory / "kafka.log")
    return process, kafka.bootstrap(brokers)


def make_redis(directory: Path, appendfsync: redis.Appendfsync = "always") -> tuple[Process, str]:
    """A Redis that is not started yet, and its URL."""
    port = free_port()
    process = redis.create(directory / "redis", port, appendfsync, packages.require_redis(), directory / "redis.log")
    return process, redis.url(port)
