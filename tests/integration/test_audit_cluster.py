"""The audit of PostgreSQL, Cassandra and Kafka: no false alarm while a sale goes on, and an invented event is named."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
import typer
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from audit.running import run_audit
from commands.audit import audit
from journal.events import decode_events, encode_order_events
from journal.postgres import PostgresJournal
from journal.protocol import Batch, Committed, OutboxRow, Spend
from relay.kafka_log import KafkaLog
from relay.kafka_publisher import KafkaPublisher
from relay.meters import RelayMeters
from relay.relaying import relay
from sluice.kafka_topics import RELAY_TOPICS, make_topics
from sluice.model import Line, NewOrder, StockPolicy, units_by_sku
from sluice.seams.stock_store import Applied, Row
from sluice.slot_map import first_maps
from stockd.stores.cassandra import CassandraStore

pytestmark = pytest.mark.servers

SKU = "apple"
UNITS = 1_000_000
AUDITS = 3


@pytest.fixture
async def journal_url(postgres_url: str) -> AsyncIterator[str]:
    name = f"audit_{uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name}")
    yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


def command(journal_url: str, cassandra: str, keyspace: str, kafka: str) -> Result:
    app = typer.Typer()
    app.command()(audit)
    arguments = ["--journal-url", journal_url, "--cassandra", cassandra, "--keyspace", keyspace, "--kafka", kafka]
    return CliRunner().invoke(app, [*arguments, "--json"])


async def sell(journal: PostgresJournal, store: CassandraStore, incarnation: UUID, enough: asyncio.Event) -> int:
    """Takes what each batch needs, commits it, over and over; leaves nothing in escrow. Returns the orders sold."""
    row: Row | None = None
    seq = 0
    while not enough.is_set():
        seq += 1
        orders = [NewOrder(str(uuid4()), "anna", (Line(SKU, 2),)) for _ in range(10)]
        assert await store.take(SKU, incarnation, row, 20) == Applied()
        ledger_row = (row.units if row else 0) + 20
        row = Row(ledger_row, row.version + 1 if row else 1)
        now = datetime.now(UTC)
        events, count = encode_order_events(orders, now)
        batch = Batch(orders, [Spend(incarnation, seq, units_by_sku(orders))], events, count, now)
        assert await journal.commit(batch) == Committed()
    return 10 * seq


async def test_a_moving_sale_gives_no_false_alarm_and_an_invented_event_is_named(
    journal_url: str, cassandra_contact_points: str, kafka_bootstrap: str
) -> None:
    keyspace = f"audit_{uuid4().hex[:8]}"
    journal = await PostgresJournal.open(journal_url)
    store = await CassandraStore.open(cassandra_contact_points, keyspace, 1, "datacenter1")
    counts = await make_topics(kafka_bootstrap, RELAY_TOPICS, partitions=4, replication_factor=1)
    await store.create_sku(SKU, StockPolicy.EXACT)
    assert await store.restock(SKU, uuid4(), UNITS) == Applied()
    incarnation = uuid4()
    await journal.register("stockd-0", incarnation, datetime.now(UTC))
    await store.note_held(incarnation, [SKU])
    stopping = asyncio.Event()
    enough = asyncio.Event()

    async def open_publisher() -> KafkaPublisher:
        return KafkaPublisher(kafka_bootstrap, first_maps(counts))

    meters = RelayMeters(CollectorRegistry())
    relaying = asyncio.create_task(relay(journal, open_publisher, meters, stopping, drain_limit_s=10))
    selling = asyncio.create_task(sell(journal, store, incarnation, enough))

    for _ in range(AUDITS):
        report = await run_audit(journal, store, KafkaLog(kafka_bootstrap))
        assert report.findings == []
    enough.set()
    sold = await selling
    assert sold > 0
    while (await journal.backlog()).rows:  # noqa: ASYNC110 - the relay empties it
        await asyncio.sleep(0.02)
    stopping.set()
    await relaying

    arguments = (journal_url, cassandra_contact_points, keyspace, kafka_bootstrap)
    result = await asyncio.to_thread(command, *arguments)
    assert (result.exit_code, json.loads(result.stdout)) == (
        0,
        {"audit": "ok", "orders": sold, "skus": 1, "events": 2 * sold, "stranded": [], "in_escrow": []},
    )

    invented = NewOrder(str(uuid4()), "nobody", (Line(SKU, 1),))
    events, count = encode_order_events([invented], datetime.now(UTC))
    row = OutboxRow(1_000_000, datetime.now(UTC), events, count)
    publisher = await open_publisher()
    await publisher.publish(decode_events(row, journal.journal_id))
    await publisher.close()
    result = await asyncio.to_thread(command, *arguments)
    assert result.exit_code == 1
    assert {(finding["invariant"], finding["subject"]) for finding in json.loads(result.stdout)["audit"]} == {
        ("I4", invented.order_id)
    }
    await store.close()
    await journal.close()


async def test_a_misspelt_keyspace_is_an_error_and_stays_missing(
    journal_url: str, cassandra_contact_points: str, kafka_bootstrap: str
) -> None:
    await (await PostgresJournal.open(journal_url)).close()
    misspelt = f"misspelt_{uuid4().hex[:8]}"
    for _ in range(2):  # had the first look made it, the second would find it
        result = await asyncio.to_thread(command, journal_url, cassandra_contact_points, misspelt, kafka_bootstrap)
        assert result.exit_code == 2
        assert misspelt in json.loads(result.stdout)["error"]
