"""A server of the local cluster can be killed or frozen and comes back on the same port with its data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from cassandra.cluster import Cluster, Session
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.local import postgres
from deploy.local.processes import NotAnsweringError
from tests.servers import make_cassandra, make_kafka, make_postgres, running, server_directory

pytestmark = pytest.mark.servers


@pytest.fixture
def private_directory(tmp_path: Path) -> Path:
    """Only its owner may enter: when that is root, PostgreSQL's account cannot get there."""
    tmp_path.chmod(0o700)
    return tmp_path


async def test_postgres_keeps_committed_rows(private_directory: Path) -> None:
    process, url = make_postgres(private_directory)
    try:
        with running(process):
            connection = await asyncpg.connect(url)
            await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")

            process.kill()
            assert not process.alive
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await connection.fetchval("SELECT 1")
            connection.terminate()

            process.start()
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT id FROM kept") == 1
            await connection.close()
    finally:
        postgres.remove(private_directory / "postgres")


async def test_a_frozen_postgres_does_not_answer_until_it_goes_on() -> None:
    with server_directory() as directory:
        process, url = make_postgres(directory)
        with running(process):
            connection = await asyncpg.connect(url)
            process.stop()
            # The backend of this very connection is frozen too, not only the server that would take new ones.
            with pytest.raises(TimeoutError):
                await connection.fetchval("SELECT 1", timeout=0.3)
            with pytest.raises(NotAnsweringError):
                process.answers()
            process.cont()
            process.wait_until(process.answers)
            connection.terminate()


async def test_postgres_stops_in_order_while_clients_are_connected() -> None:
    with server_directory() as directory:
        process, url = make_postgres(directory)
        with running(process):
            connection = await asyncpg.connect(url)
            process.terminate()
            connection.terminate()
        assert "database system is shut down" in (directory / "postgres.log").read_text()


def test_cassandra_keeps_applied_conditional_writes() -> None:
    with server_directory() as directory:
        process, contact_point = make_cassandra(directory)
        with running(process):
            with session(contact_point) as cql:
                cql.execute(
                    "CREATE KEYSPACE kept WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
                )
                cql.execute("CREATE TABLE kept.t (id int PRIMARY KEY, units bigint)")
                assert cql.execute("INSERT INTO kept.t (id, units) VALUES (1, 300) IF NOT EXISTS").one().applied

            process.kill()
            assert not process.alive
            with pytest.raises(NotAnsweringError):
                process.answers()

            process.start()
            with session(contact_point) as cql:
                assert cql.execute("SELECT units FROM kept.t WHERE id = 1").one().units == 300


def test_kafka_keeps_acknowledged_records() -> None:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            admin = AdminClient({"bootstrap.servers": bootstrap})
            admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])["kept"].result(10)
            producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
            producer.produce("kept", b"order", partition=0)
            assert producer.flush(30) == 0
            # Gone before the broker is: their threads would only fill the log with refused connections.
            del admin, producer

            process.kill()
            assert not process.alive
            with pytest.raises(NotAnsweringError):
                process.answers()

            process.start()
            consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "kept"})
            consumer.assign([TopicPartition("kept", 0, 0)])
            record = consumer.poll(30)
            assert record is not None
            assert record.value() == b"order"
            consumer.close()


@contextmanager
def session(contact_point: str) -> Iterator[Session]:
    host, port = contact_point.split(":")
    cluster = Cluster([host], port=int(port), protocol_version=4)
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()
