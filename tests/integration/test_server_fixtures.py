"""The session's servers really are what the fixtures say."""

import asyncpg
import pytest
from cassandra.cluster import Cluster
from confluent_kafka.admin import AdminClient
from redis.asyncio import Redis

pytestmark = pytest.mark.servers


async def test_postgres_url_is_a_database_that_takes_connections_and_syncs_commits(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"
    finally:
        await connection.close()


def test_cassandra_contact_points_lead_to_a_cassandra_5_0_8(cassandra_contact_points: str) -> None:
    host, port = cassandra_contact_points.split(",", maxsplit=1)[0].split(":")
    cluster = Cluster([host], port=int(port), protocol_version=4)
    try:
        row = cluster.connect().execute("SELECT release_version FROM system.local").one()
        assert row.release_version == "5.0.8"
    finally:
        cluster.shutdown()


def test_kafka_bootstrap_leads_to_a_broker_that_makes_no_topics_by_itself(kafka_bootstrap: str) -> None:
    metadata = AdminClient({"bootstrap.servers": kafka_bootstrap}).list_topics("misspelt-topic", timeout=10)
    assert metadata.topics["misspelt-topic"].error is not None


async def test_redis_url_leads_to_a_server_that_syncs_its_log_before_it_answers(redis_url: str) -> None:
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        settings = await client.config_get("append*", "no-appendfsync-on-rewrite")
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["no-appendfsync-on-rewrite"] == "no"
