"""The console consumer of the Kafka distribution, in Java, reads keys and headers of Sluice's records as text."""

import asyncio
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest

from deploy.local import jvm, kafka, packages
from journal.events import decode_events, encode_order_events
from journal.protocol import OutboxRow
from relay.kafka_publisher import KafkaPublisher
from sluice.kafka_topics import make_topics
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED, Event
from sluice.slot_map import first_maps
from sluice.slots import slot_of
from sluice.trace_context import TraceContext

pytestmark = pytest.mark.servers

TIME = datetime(2026, 11, 20, 12, 30, 0, 123_000, tzinfo=UTC)
TRACE = TraceContext(f"00-{'4b' * 16}-{'00f0' * 4}-01", "shop=till-7,bank=x")
PARTITIONS = 4
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
READ_LIMIT_S = 90.0
"""For the JVM's start, the group's first assignment and the records, on a busy machine."""


class Printed(NamedTuple):
    partition: str
    headers: dict[str, str]
    key: str


def read_by_console(bootstrap: str, topic: str, records: int) -> list[Printed]:
    """As a member of a consumer group."""
    java = packages.require().java
    command = [
        *(str(java), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", jvm.classpath("kafka", kafka._ARTIFACTS, java)),
        *(CONSUMER, "--bootstrap-server", bootstrap, "--topic", topic, "--group", f"console-{topic}"),
        *("--from-beginning", "--max-messages", str(records), "--timeout-ms", str(round(READ_LIMIT_S * 1000))),
        *_formatted(partition="true", headers="true", key="true", value="false"),
        *("--formatter-property", "headers.separator=|"),
    ]
    run = subprocess.run(command, capture_output=True, timeout=READ_LIMIT_S, check=True)
    lines = [line for line in run.stdout.decode().splitlines() if line.startswith("Partition:")]
    return [_printed(line) for line in lines]


def _formatted(**printed: str) -> Sequence[str]:
    return [each for name, value in printed.items() for each in ("--formatter-property", f"print.{name}={value}")]


def _printed(line: str) -> Printed:
    partition, headers, key = line.split("\t")
    named = (header.partition(":") for header in headers.split("|"))
    return Printed(partition.removeprefix("Partition:"), {name: value for name, _, value in named}, key)


def events_of(journal: UUID, suffix: str) -> list[Event]:
    traced = NewOrder(str(uuid4()), "anna", (Line("späti 🍵", 2), Line("tea", 1)), None, 7, TRACE)
    plain = NewOrder(str(uuid4()), "berta", (Line("tea", 1),))
    events = decode_events(OutboxRow(42, TIME, *encode_order_events([traced, plain], TIME)), journal)
    return [event._replace(topic=f"{event.topic}{suffix}") for event in events]


def as_shown(event: Event) -> Printed:
    headers = {
        "ce_specversion": "1.0",
        "ce_source": f"/sluice/{event.position.journal}",
        "ce_type": event.event_type,
        "ce_time": "2026-11-20T12:30:00.123Z",
        "content-type": "application/protobuf",
        "ce_id": event.event_id,
        "sluice-position": f"{event.position.journal}/42/{event.position.place}",
    }
    if event.trace is not None:
        headers |= event.trace._asdict()
    return Printed(str(slot_of(event.key) % PARTITIONS), headers, event.key)


async def test_keys_and_headers_are_text(kafka_bootstrap: str) -> None:
    suffix = f"-{uuid4().hex[:8]}"
    names = [f"{topic}{suffix}" for topic in (TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED)]
    counts = dict(await make_topics(kafka_bootstrap, names, partitions=PARTITIONS, replication_factor=1))
    events = events_of(uuid4(), suffix)
    publisher = KafkaPublisher(kafka_bootstrap, first_maps(counts))
    try:
        await publisher.publish(events)
    finally:
        await publisher.close()
    for name in names:
        expected = [as_shown(event) for event in events if event.topic == name]
        printed = await asyncio.to_thread(read_by_console, kafka_bootstrap, name, len(expected))
        assert sorted(printed, key=str) == sorted(expected, key=str)
