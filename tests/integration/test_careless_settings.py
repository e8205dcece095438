"""A stock server says which settings of the stores may lose what was answered, and nothing where none does."""

from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from commands.careless_settings import tell_of_careless_settings
from deploy.local import packages, postgres
from deploy.local.ports import free_port
from journal import postgres_durability
from sluice.settings import JournalSettings
from stockd.stores.cassandra import CassandraStore
from stockd.stores.redis import RedisStore
from tests.servers import running, server_directory
from tests.unit.fake_stock_store import FakeStockStore

pytestmark = pytest.mark.servers

LIMIT_S = 5.0


async def test_a_postgresql_that_does_not_sync(monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> None:
    assert await postgres_durability.careless_settings(postgres_url, LIMIT_S) == []
    monkeypatch.setattr(postgres, "_SETTINGS", {**postgres._SETTINGS, "fsync": "off", "full_page_writes": "off"})
    with server_directory() as directory:
        port = free_port()
        server = postgres.create(directory / "pg", port, packages.require().postgres_bin, directory / "pg.log")
        with running(server):
            settings = JournalSettings(journal_url=f"{postgres_url},{postgres.url(port)}")
            with capture_logs() as logged:
                await tell_of_careless_settings(settings, FakeStockStore())
    assert [line["settings"] for line in logged] == [
        ["PostgreSQL: fsync is off", "PostgreSQL: full_page_writes is off"]
    ]


async def test_a_redis_that_syncs_once_a_second(redis_url: str) -> None:
    store = await RedisStore.open(redis_url, f"careless-{uuid4().hex[:8]}")
    client = Redis.from_url(redis_url)
    try:
        assert await store.careless_settings() == []
        await client.config_set("appendfsync", "everysec")
        assert await store.careless_settings() == ["Redis: appendfsync is everysec"]
    finally:
        await client.config_set("appendfsync", "always")
        await client.aclose()
        await store.close()


async def test_a_cassandra_that_syncs_its_commit_log_is_told_nothing_of(
    cassandra_contact_points: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that does not, told from what it shows of itself: the setting cannot be changed while it runs."""
    store = await CassandraStore.open(cassandra_contact_points, "careless", 1, "datacenter1")
    try:
        assert await store.careless_settings() == []
        monkeypatch.setattr("stockd.stores.cassandra.CARELESS_SYNC", "batch")
        assert await store.careless_settings() == ["Cassandra: commitlog_sync is batch"]
    finally:
        await store.close()


async def test_a_journal_that_cannot_be_asked_keeps_no_server_from_starting() -> None:
    settings = JournalSettings(journal_url=f"postgresql://sluice@127.0.0.1:{free_port()}/sluice", journal_timeout_s=1.0)
    with capture_logs() as logged:
        await tell_of_careless_settings(settings, FakeStockStore())
    assert [line["log_level"] for line in logged] == ["debug"]
