"""Dead letters in a topic of their own beside each topic: `<topic>.<group>.dlq`, made with the first of them.

One partition, on purpose: every process of the group reads it whole, so a key that moves to another process or to
another partition stays parked, and the letters of a key stay in order whatever happens to the topic they came from.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from consumers.runtime.dead_letters import Entry, Letter, Note, NoteKind
from consumers.runtime.records import Record, Unreadable
from sluice.cloud_events import HeaderValue, HeaderWriter, UnreadableRecord, read_event
from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import ANSWER_LIMIT_S, CLIENT_LOG_LEVEL, Admin, list_topics, make_topics, open_admin
from sluice.seams.event_log import LoggedEvent

SUFFIX = ".dlq"
PARTITION = 0

READ_RECORDS = 500
READ_WAIT_S = 0.2
"""Longest wait for records that are known to be there."""

DELIVERY_LIMIT_S = 30.0
"""After this a letter counts as not written; its record is not finished, and it is tried again."""

_TYPE = "dlq.error.type"
_kafka_logger = logging.getLogger("sluice.kafka")


def dead_letter_topic(topic: str, group: str) -> str:
    return f"{topic}.{group}{SUFFIX}"


class KafkaDeadLetters:
    """See `consumers.runtime.dead_letters.DeadLetterLog`."""

    def __init__(self, bootstrap: str, group: str, *, replication_factor: int) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._replication_factor = replication_factor
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._headers = HeaderWriter()
        self._there: set[str] = set()
        self._admin: Admin | None = None
        self._reading = asyncio.Lock()

    async def append(self, topic: str, entries: Sequence[Entry]) -> Sequence[int]:
        name = dead_letter_topic(topic, self._group)
        if name not in self._there:
            await make_topics(self._bootstrap, [name], partitions=1, replication_factor=self._replication_factor)
            self._there.add(name)
        if self._producer is None:
            self._producer = Producer(
                {
                    **client_properties(self._bootstrap),
                    "enable.idempotence": True,
                    # The topic is new when its first letter comes, and there the order of several requests is not
                    # kept (relay/opened_partitions.py). Letters are rare.
                    "max.in.flight.requests.per.connection": 1,
                    "delivery.timeout.ms": round(DELIVERY_LIMIT_S * 1000),
                    "reconnect.backoff.max.ms": 1_000,
                    "compression.type": "lz4",
                    "log_level": CLIENT_LOG_LEVEL,
                },
                logger=_kafka_logger,
            )
        return await asyncio.to_thread(self._append, self._producer, name, entries)

    def _append(self, producer: Producer, name: str, entries: Sequence[Entry]) -> Sequence[int]:
        places: list[int | None] = [None] * len(entries)
        failures: list[str] = []

        def reported(error: KafkaError | None, message: Message, index: int) -> None:
            if error is None:
                places[index] = message.offset()
            else:
                failures.append(str(error))

        for index, entry in enumerate(entries):
            key, value, headers = self._as_record(entry)

            def on_delivery(error: KafkaError | None, message: Message, index: int = index) -> None:
                reported(error, message, index)

            while True:
                try:
                    producer.produce(name, value, key, PARTITION, on_delivery=on_delivery, headers=headers)
                    break
                except BufferError:
                    producer.poll(READ_WAIT_S)
                except KafkaException as error:
                    raise LogUnreachable(str(error), outcome_unknown=True) from error
        producer.flush()
        written = [place for place in places if place is not None]
        if len(written) < len(entries):
            raise LogUnreachable(
                failures[0] if failures else "dead letters were not acknowledged", outcome_unknown=True
            )
        return written

    def _as_record(self, entry: Entry) -> tuple[bytes | None, bytes | None, list[tuple[str, HeaderValue]]]:
        if isinstance(entry, Note):
            named: list[tuple[str, HeaderValue]] = [
                ("dlq.note", entry.kind.value.encode()),
                ("dlq.through", str(entry.through).encode()),
                ("dlq.reason", entry.reason.encode()),
                ("dlq.time", str(entry.time_ms).encode()),
            ]
            return entry.key.encode(), None, named
        record = entry.record
        if isinstance(record, Unreadable):
            key, value, topic = record.key, record.value, record.topic
            named = list(record.headers)
        else:
            event = record.event
            key, value, topic = event.key.encode(), event.value, event.topic
            named = list(self._headers.headers(event).items())
        named += [
            ("dlq.topic", topic.encode()),
            ("dlq.partition", str(record.partition).encode()),
            ("dlq.offset", str(record.offset).encode()),
            ("dlq.group", self._group.encode()),
            ("dlq.key", entry.key.encode()),
            (_TYPE, entry.error_type.encode()),
            ("dlq.error.message", entry.error_message.encode()),
            ("dlq.attempts", str(entry.attempts).encode()),
            ("dlq.failed_at", str(entry.time_ms).encode()),
        ]
        return key, value, named

    async def read(self, topic: str, after: int) -> Sequence[tuple[int, Entry]]:
        name = dead_letter_topic(topic, self._group)
        async with self._reading:
            if name not in self._there and not await asyncio.to_thread(self._look_for, name):
                return []
            return await asyncio.to_thread(self._read, name, after)

    def _look_for(self, name: str) -> bool:
        """Asked every time: who begins with a partition must see a topic that its last owner made a moment ago."""
        if self._admin is None:
            self._admin = open_admin(self._bootstrap)
        if is_there := name in self._admin.partition_counts():
            self._there.add(name)
        return is_there

    def _read(self, name: str, after: int) -> Sequence[tuple[int, Entry]]:
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **client_properties(self._bootstrap),
                    # Required by the client; nothing is ever committed under this name.
                    "group.id": f"sluice-dead-letters-{self._group}",
                    "enable.auto.commit": False,
                    "fetch.wait.max.ms": 50,
                    "fetch.queue.backoff.ms": 10,
                    "queued.min.messages": READ_RECORDS,
                    "queued.max.messages.kbytes": 4_096,
                    "reconnect.backoff.max.ms": 1_000,
                    "log_level": CLIENT_LOG_LEVEL,
                },
                logger=_kafka_logger,
            )
        consumer = self._consumer
        try:
            marks = consumer.get_watermark_offsets(TopicPartition(name, PARTITION), timeout=ANSWER_LIMIT_S)
            if marks is None:
                raise LogUnreachable(f"no answer for the end of {name} in {ANSWER_LIMIT_S:g} s")
            low, high = marks
            start = max(after + 1, low)
            if start >= high:
                return []
            consumer.assign([TopicPartition(name, PARTITION, start)])
            deadline = time.monotonic() + ANSWER_LIMIT_S
            entries: list[tuple[int, Entry]] = []
            while not entries:
                if time.monotonic() > deadline:
                    raise LogUnreachable(f"nothing came from {name} for {ANSWER_LIMIT_S:g} s")
                entries = [
                    read
                    for message in consumer.consume(READ_RECORDS, READ_WAIT_S)
                    if (read := _read_entry(message)) is not None
                ]
            consumer.unassign()
        except KafkaException as error:
            raise LogUnreachable(str(error)) from error
        return entries

    async def close(self) -> None:
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)


async def dead_letter_topics(bootstrap: str) -> Sequence[tuple[str, str]]:
    """(topic, group) of every dead-letter topic. Raises LogUnreachable."""
    found = []
    for name in await list_topics(bootstrap):
        if name.endswith(SUFFIX):
            topic, _, group = name.removesuffix(SUFFIX).partition(".")
            found.append((topic, group))
    return sorted(found)


def _read_entry(message: Message) -> tuple[int, Entry] | None:
    if message.error() is not None:
        return None
    offset = message.offset()
    assert offset is not None
    headers = message.headers()
    pairs: list[tuple[str, HeaderValue]] = list(headers.items() if isinstance(headers, dict) else headers or ())
    named = dict(pairs)
    key = (message.key() or b"").decode(errors="replace")
    if "dlq.note" in named:
        kind = NoteKind(_text(named, "dlq.note"))
        note = Note(kind, key, _number(named, "dlq.through"), _text(named, "dlq.reason"), _number(named, "dlq.time"))
        return offset, note
    record = _original(message, pairs, named)
    return offset, Letter(
        record,
        _text(named, "dlq.key"),
        _text(named, _TYPE),
        _text(named, "dlq.error.message"),
        _number(named, "dlq.attempts"),
        _number(named, "dlq.failed_at"),
    )


def _original(message: Message, pairs: Sequence[tuple[str, HeaderValue]], named: Mapping[str, HeaderValue]) -> Record:
    topic, partition, offset = _text(named, "dlq.topic"), _number(named, "dlq.partition"), _number(named, "dlq.offset")
    try:
        return LoggedEvent(read_event(topic, message.key(), message.value(), dict(pairs), offset), partition, offset)
    except UnreadableRecord as error:
        own = tuple((name, value) for name, value in pairs if not name.startswith("dlq."))
        return Unreadable(topic, partition, offset, message.key(), message.value(), own, str(error))


def _text(named: Mapping[str, HeaderValue], name: str) -> str:
    value = named.get(name)
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _number(named: Mapping[str, HeaderValue], name: str) -> int:
    text = _text(named, name)
    with contextlib.suppress(ValueError):
        return int(text)
    return 0
