"""`sluice events tail` shows every event of the log once, embedded and on Kafka, and goes on when asked to follow."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from commands.data_dir import DATABASE_FILE
from commands.events import app
from journal.embedded_log import EmbeddedLog
from journal.events import decode_events, encode_order_events
from journal.protocol import Batch, Committed, OutboxRow
from journal.sqlite import SqliteJournal
from relay.kafka_publisher import KafkaPublisher
from sluice.kafka_topics import RELAY_TOPICS, make_request_topic, make_topics
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, LoggedEvent
from sluice.slot_map import first_maps
from sluice.sqlite_file import SqliteFile

TIME = datetime(2026, 11, 20, 12, 30, 0, 123_000, tzinfo=UTC)


def new_order() -> NewOrder:
    return NewOrder(str(uuid4()), "anna", (Line("apple", 2), Line("pear", 1)))


async def place(journal: SqliteJournal, order: NewOrder) -> None:
    events, count = encode_order_events([order], TIME)
    assert await journal.commit(Batch([order], [], events, count, TIME)) == Committed()


@pytest.fixture
async def placed(tmp_path: Path) -> NewOrder:
    """One order in the data directory `tmp_path`."""
    file = await SqliteFile.open(tmp_path / DATABASE_FILE)
    order = new_order()
    await place(await SqliteJournal.open(file), order)
    await file.close()
    return order


async def tail(*arguments: str) -> tuple[int, list[str]]:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["tail", *arguments])
    return result.exit_code, result.stdout.splitlines()


async def test_json_lines_hold_identity_place_and_message(tmp_path: Path, placed: NewOrder) -> None:
    code, lines = await tail("--data-dir", str(tmp_path), "--json")
    assert code == 0
    created, apple, pear = map(json.loads, lines)
    assert created["topic"] == "order-created"
    assert created["key"] == placed.order_id
    assert created["id"] == f"{placed.order_id}/1"
    assert created["time"] == "2026-11-20T12:30:00.123Z"
    assert created["data"]["customer_id"] == "anna"
    assert created["data"]["lines"] == [{"sku": "apple", "quantity": 2}, {"sku": "pear", "quantity": 1}]
    assert [(event["key"], event["data"]["delta"], event["offset"]) for event in (apple, pear)] == [
        ("apple", "-2", 0),
        ("pear", "-1", 1),
    ]


async def test_text_is_one_line_an_event_and_a_topic_can_be_chosen(tmp_path: Path, placed: NewOrder) -> None:
    code, lines = await tail("stock-changed", "--data-dir", str(tmp_path))
    assert code == 0
    assert len(lines) == 2
    assert "apple" in lines[0]
    assert f"-2  order {placed.order_id}" in lines[0]


async def test_an_unknown_topic_or_a_missing_log_is_an_error(tmp_path: Path) -> None:
    assert (await tail("order-invented", "--data-dir", str(tmp_path)))[0] == 2
    assert (await tail("--data-dir", str(tmp_path)))[0] == 2


async def test_a_follower_sees_what_is_committed_later(tmp_path: Path, placed: NewOrder) -> None:
    file = await SqliteFile.open(tmp_path / DATABASE_FILE)
    journal = await SqliteJournal.open(file)
    following = EmbeddedLog(journal).read(TOPIC_STOCK_CHANGED, follow=True)

    async def next_one() -> LoggedEvent:
        async with asyncio.timeout(10):
            return await anext(following)

    assert [(await next_one()).event.key for _ in range(2)] == ["apple", "pear"]
    waiting = asyncio.create_task(next_one())
    later = new_order()
    await place(journal, later)
    assert (await waiting).event.event_id == f"{later.order_id}/1/apple"
    assert (await next_one()).offset == 3
    await following.aclose()
    await file.close()


@pytest.mark.servers
async def test_kafka_is_read_the_same_way(kafka_bootstrap: str) -> None:
    order = new_order()
    events, count = encode_order_events([order], TIME)
    counts = await make_topics(kafka_bootstrap, RELAY_TOPICS, partitions=4, replication_factor=1)
    await make_request_topic(kafka_bootstrap, replication_factor=1)
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    await publisher.publish(decode_events(OutboxRow(1, TIME, events, count), uuid4()))
    await publisher.close()
    code, lines = await tail("--kafka", kafka_bootstrap, "--json")
    assert code == 0
    ours = [event for event in map(json.loads, lines) if event["id"].startswith(order.order_id)]
    assert sorted(event["id"] for event in ours) == [f"{order.order_id}/1{end}" for end in ("", "/apple", "/pear")]
