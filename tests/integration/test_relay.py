"""From a PostgreSQL outbox to Kafka: every event arrives, per key in order, whatever dies on the way."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from deploy.local.processes import Process
from journal.events import encode_order_events
from journal.postgres import PostgresJournal
from journal.protocol import Batch, Committed
from relay.kafka_log import KafkaLog
from relay.kafka_publisher import KafkaPublisher
from relay.meters import RelayMeters
from relay.relaying import relay
from sluice.kafka_topics import RELAY_TOPICS, make_topics
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED, Event
from sluice.slot_map import first_maps
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
SKUS = [f"sku-{i}" for i in range(5)]


@pytest.fixture
async def journal_url(postgres_url: str) -> AsyncIterator[str]:
    """A database of this test's own: relays of other tests must not take its lease."""
    name = f"relay_{uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE DATABASE {name}")
    yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[PostgresJournal]:
    opened = await PostgresJournal.open(journal_url)
    yield opened
    await opened.close()


@pytest.fixture
def fresh_kafka() -> Iterator[tuple[Process, str]]:
    """A broker of this test's own, that it may stop."""
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield process, bootstrap


async def commit(journal: PostgresJournal, batches: int, orders: int = 20) -> list[str]:
    """Commits batches of two-line orders; their ids in the order of committing."""
    ids: list[str] = []
    for _ in range(batches):
        lines = (Line(SKUS[len(ids) % 4], 1), Line(SKUS[4], 2))
        batch = [NewOrder(str(uuid4()), "anna", lines) for _ in range(orders)]
        now = datetime.now(UTC)
        events, count = encode_order_events(batch, now)
        assert await journal.commit(Batch(batch, [], events, count, now)) == Committed()
        ids += [order.order_id for order in batch]
    return ids


async def of_journal(bootstrap: str, topic: str, journal_id: UUID) -> list[Event]:
    """This journal's events on the topic, as the log has them."""
    log = KafkaLog(bootstrap).read(topic, follow=False)
    return [entry.event async for entry in log if entry.event.position.journal == journal_id]


async def until(look: Callable[[], Awaitable[bool]], limit_s: float = 30) -> None:
    """What is waited for happens in another process, so it can only be looked at."""
    async with asyncio.timeout(limit_s):
        while not await look():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_drained(journal: PostgresJournal) -> None:
    async def drained() -> bool:
        return (await journal.backlog()).rows == 0

    await until(drained)


async def until_log_says(log: Path, words: bytes) -> None:
    async def says() -> bool:
        return words in await asyncio.to_thread(log.read_bytes)

    await until(says, 15)


def first_occurrences(events: list[Event]) -> list[Event]:
    """Without repeats, each of which must be exact."""
    seen: dict[str, Event] = {}
    for event in events:
        assert seen.setdefault(event.event_id, event) == event
    return list(seen.values())


async def assert_all_there_in_order(bootstrap: str, journal: PostgresJournal, ids: list[str], *, repeats: bool) -> None:
    created = await of_journal(bootstrap, TOPIC_ORDER_CREATED, journal.journal_id)
    changed = await of_journal(bootstrap, TOPIC_STOCK_CHANGED, journal.journal_id)
    if not repeats:
        assert len(created) == len(ids)
        assert len(changed) == 2 * len(ids)
    created, changed = first_occurrences(created), first_occurrences(changed)
    assert sorted(event.key for event in created) == sorted(ids)
    assert len(changed) == 2 * len(ids)
    for sku in SKUS:
        positions = [event.position for event in changed if event.key == sku]
        assert positions == sorted(positions)


class InProcess:
    """A relay in this process, stopped at the end of the test."""

    def __init__(self, journal: PostgresJournal, bootstrap: str) -> None:
        self.registry = CollectorRegistry()
        self.stopping = asyncio.Event()

        async def open_publisher() -> KafkaPublisher:
            counts = await make_topics(bootstrap, RELAY_TOPICS, partitions=PARTITIONS, replication_factor=1)
            return KafkaPublisher(bootstrap, first_maps(counts))

        self.task = asyncio.create_task(
            relay(journal, open_publisher, RelayMeters(self.registry), self.stopping, drain_limit_s=10)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await self.task


def relay_process(
    stack: ExitStack, directory: Path, name: str, journal_url: str, bootstrap: str
) -> subprocess.Popen[bytes]:
    log = stack.enter_context((directory / f"{name}.log").open("wb"))
    environment = os.environ | {
        "SLUICE_JOURNAL_URL": journal_url,
        "SLUICE_KAFKA": bootstrap,
        "SLUICE_PARTITIONS": str(PARTITIONS),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.relay_process"],
        cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


async def test_all_events_arrive_once_each_key_in_order(journal: PostgresJournal, kafka_bootstrap: str) -> None:
    async with InProcess(journal, kafka_bootstrap):
        lists = await asyncio.gather(*(commit(journal, 15) for _ in range(3)))
        await until_drained(journal)
    ids = [order_id for part in lists for order_id in part]
    await assert_all_there_in_order(kafka_bootstrap, journal, ids, repeats=False)


async def test_a_standby_takes_over_within_3_s_of_kill_9_and_nothing_is_lost(
    journal: PostgresJournal, journal_url: str, kafka_bootstrap: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        leader = relay_process(stack, tmp_path, "leader", journal_url, kafka_bootstrap)
        await until_log_says(tmp_path / "leader.log", b"relay_leads")
        standby = relay_process(stack, tmp_path, "standby", journal_url, kafka_bootstrap)
        await until_log_says(tmp_path / "standby.log", b"relay_stands_by")
        enough = asyncio.Event()

        async def sell() -> list[str]:
            ids: list[str] = []
            while not enough.is_set():
                ids += await commit(journal, 1)
            return ids

        selling = asyncio.create_task(sell())

        async def some_are_on_kafka() -> bool:
            return bool(await of_journal(kafka_bootstrap, TOPIC_ORDER_CREATED, journal.journal_id))

        await until(some_are_on_kafka, 15)

        leader.kill()
        killed = time.monotonic()
        await until_log_says(tmp_path / "standby.log", b"relay_leads")
        assert time.monotonic() - killed <= 3

        enough.set()
        ids = await selling
        await until_drained(journal)
        standby.terminate()
        assert await asyncio.to_thread(standby.wait, 10) == 0
    await assert_all_there_in_order(kafka_bootstrap, journal, ids, repeats=True)


async def test_a_backlog_from_while_kafka_was_away_drains_when_it_is_back(
    journal: PostgresJournal, fresh_kafka: tuple[Process, str]
) -> None:
    process, bootstrap = fresh_kafka
    async with InProcess(journal, bootstrap) as relaying:
        before = await commit(journal, 5)
        await until_drained(journal)
        await asyncio.to_thread(process.kill)
        meanwhile = await commit(journal, 30)
        await asyncio.sleep(0.5)
        assert (await journal.backlog()).rows == 30
        assert relaying.registry.get_sample_value("sluice_relay_leader") == 1
        await asyncio.to_thread(process.start)
        await until_drained(journal)
        after = await commit(journal, 5)
        await until_drained(journal)
    await assert_all_there_in_order(bootstrap, journal, before + meanwhile + after, repeats=True)


async def test_a_relay_that_starts_before_kafka_waits_for_it(journal: PostgresJournal) -> None:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        async with InProcess(journal, bootstrap):
            ids = await commit(journal, 3)
            with running(process):
                await until_drained(journal)
                await assert_all_there_in_order(bootstrap, journal, ids, repeats=False)


async def test_a_relay_that_loses_its_session_leads_again_and_repeats_at_most(
    journal: PostgresJournal, journal_url: str, kafka_bootstrap: str
) -> None:
    async with InProcess(journal, kafka_bootstrap) as relaying:
        before = await commit(journal, 3)
        await until_drained(journal)
        admin = await asyncpg.connect(journal_url)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        await admin.close()
        after = await commit(journal, 3)
        await until_drained(journal)
        assert not relaying.task.done()
    await assert_all_there_in_order(kafka_bootstrap, journal, before + after, repeats=True)


async def test_a_row_that_cannot_be_read_stops_what_follows_and_says_so_until_it_is_repaired(
    journal: PostgresJournal, journal_url: str, kafka_bootstrap: str
) -> None:
    admin = await asyncpg.connect(journal_url)
    with capture_logs() as logs:
        async with InProcess(journal, kafka_bootstrap) as relaying:

            async def poisoned() -> bool:
                return relaying.registry.get_sample_value("sluice_relay_poisoned_rows") == 1

            before = await commit(journal, 3)
            await until_drained(journal)
            # Before it has its number, so that no relay has read it.
            await admin.execute("UPDATE outbox_numbers SET paused_until = now() + interval '1 hour'")
            spoilt = await commit(journal, 1)
            await admin.execute("UPDATE outbox SET events = '\\xff'::bytea || events")
            after = await commit(journal, 3)
            await admin.execute("UPDATE outbox_numbers SET paused_until = NULL")
            await until(poisoned)

            more = await commit(journal, 1)  # orders are accepted all the while
            assert (await journal.backlog()).rows == 5
            created = await of_journal(kafka_bootstrap, TOPIC_ORDER_CREATED, journal.journal_id)
            assert {event.key for event in created} == set(before)
            assert {log["log_level"] for log in logs if log["event"] == "outbox_row_poisoned"} == {"error"}

            await admin.execute(
                "UPDATE outbox SET events = substr(events, 2) WHERE number = (SELECT min(number) FROM outbox)"
            )
            await until_drained(journal)
            assert not await poisoned()
    await admin.close()
    await assert_all_there_in_order(kafka_bootstrap, journal, before + spoilt + after + more, repeats=True)
