"""What a producer gets out of a topic: messages a second, how many share a request, and what each costs whom.

The messages are `order-created` events as the relay writes them, headers included, each in the place of its key.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.events.brokers import Brokers
from bench.figures import percentile
from bench.measure import read_clock, used_between
from journal.events import decode_events, encode_order_events
from journal.protocol import OutboxRow
from sluice.client.order_ids import new_order_id
from sluice.cloud_events import HeaderValue, HeaderWriter
from sluice.kafka_topics import CLIENT_LOG_LEVEL
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_ORDER_CREATED
from sluice.slots import slot_of

JOURNAL = UUID(int=1)
FLUSH_LIMIT_S = 120.0
STATISTICS_MS = 200
SETTLE_S = 0.5
"""For the last statistics to come."""

RELAY = {"linger.ms": 50, "compression.type": "lz4", "batch.num.messages": 10_000}
"""As the relay sets its producer."""

CLIENT_DEFAULT: Mapping[str, Any] = {}
UNCOMPRESSED = {"linger.ms": 50, "batch.num.messages": 10_000}

WARM_MESSAGES = 50
ARRIVAL_LIMIT_S = 20.0


class Message(NamedTuple):
    key: str
    slot: int
    value: bytes
    headers: Mapping[str, HeaderValue]


@cache
def messages(count: int) -> Sequence[Message]:
    orders = [NewOrder(new_order_id(), f"customer-{n % 1_000:04}", (Line("teapot", 1),)) for n in range(count)]
    now = datetime.now(UTC)
    payload, events = encode_order_events(orders, now)
    headers = HeaderWriter()
    return [
        Message(event.key, slot_of(event.key), event.value, dict(headers.headers(event)))
        for event in decode_events(OutboxRow(1, now, payload, events), JOURNAL)
        if event.topic == TOPIC_ORDER_CREATED
    ]


def open_producer(brokers: Brokers, settings: Mapping[str, Any], **more: Any) -> Producer:
    """Idempotent, acknowledged by all copies that are in sync."""
    return Producer(
        {
            "bootstrap.servers": brokers.bootstrap,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 200_000,
            "log_level": CLIENT_LOG_LEVEL,
            **settings,
            **more,
        }
    )


class _Requests:
    """What the client counts of its requests to all brokers."""

    def __init__(self) -> None:
        self.sent = 0
        self.sent_bytes = 0

    def take(self, text: str) -> None:
        brokers = json.loads(text)["brokers"].values()
        self.sent = sum(broker["req"].get("Produce", 0) for broker in brokers)
        self.sent_bytes = sum(broker["txbytes"] for broker in brokers)


def throughput(
    brokers: Brokers, topic: str, partitions: int, settings: Mapping[str, Any], count: int
) -> dict[str, Any]:
    """As many at once as the client's queue takes."""
    requests = _Requests()
    producer = open_producer(brokers, settings, **{"statistics.interval.ms": STATISTICS_MS, "stats_cb": requests.take})
    batch = messages(count)
    _warm(producer, topic, partitions, batch)
    _settle(producer)
    requests_before, bytes_before = requests.sent, requests.sent_bytes
    before, cpu_before = read_clock(brokers.pids), time.process_time()
    for message in batch:
        while True:
            try:
                producer.produce(
                    topic, message.value, message.key, message.slot % partitions, headers=dict(message.headers)
                )
                break
            except BufferError:
                producer.poll(0.005)
    left = producer.flush(FLUSH_LIMIT_S)
    after, client_s = read_clock(brokers.pids), time.process_time() - cpu_before
    _settle(producer)
    assert not left, f"{left} messages were not acknowledged in {FLUSH_LIMIT_S:g} s"
    seconds = after.wall_s - before.wall_s
    used = used_between(before, after)
    return {
        "messages": count,
        "seconds": seconds,
        "messages_per_s": count / seconds,
        "messages_per_request": count / max(1, requests.sent - requests_before),
        "bytes_per_message": (requests.sent_bytes - bytes_before) / count,
        "client_us_per_message": 1e6 * client_s / count,
        "broker_us_per_message": 1e6 * sum(used[name] for name in brokers.pids) / count,
    }


def one_at_a_time(brokers: Brokers, topic: str, partitions: int, count: int) -> dict[str, Any]:
    """The next message when the one before is acknowledged."""
    producer = open_producer(brokers, {"linger.ms": 0})
    batch = messages(count)
    _warm(producer, topic, partitions, batch)
    latencies_s: list[float] = []
    before, cpu_before = read_clock(brokers.pids), time.process_time()
    for message in batch:
        started = time.perf_counter()
        producer.produce(topic, message.value, message.key, message.slot % partitions, headers=dict(message.headers))
        producer.flush(FLUSH_LIMIT_S)
        latencies_s.append(time.perf_counter() - started)
    after, client_s = read_clock(brokers.pids), time.process_time() - cpu_before
    seconds = after.wall_s - before.wall_s
    used = used_between(before, after)
    return {
        "messages": count,
        "seconds": seconds,
        "messages_per_s": count / seconds,
        "messages_per_request": 1.0,
        "client_us_per_message": 1e6 * client_s / count,
        "broker_us_per_message": 1e6 * sum(used[name] for name in brokers.pids) / count,
        "latency_ms": _latency_ms(latencies_s),
    }


def delay(
    brokers: Brokers, topic: str, partitions: int, settings: Mapping[str, Any], rate_per_s: int, seconds: float
) -> dict[str, Any]:
    """From the moment at which a message was due until a reader has it, at a fixed rate whatever the answers."""
    total = int(rate_per_s * seconds)
    batch = messages(1_000)
    producer = open_producer(brokers, settings)
    _warm(producer, topic, partitions, batch)
    reader = _Reader(brokers, topic, partitions)
    for partition in range(partitions):
        producer.produce(topic, f"{time.perf_counter()!r}\n".encode(), "", partition)
    producer.flush(FLUSH_LIMIT_S)
    reader.wait_for(partitions)
    reader.delays_s.clear()
    before = read_clock(brokers.pids)
    started = time.perf_counter()
    for number in range(total):
        due = started + number / rate_per_s
        while (now := time.perf_counter()) < due:
            producer.poll(min(0.001, due - now))
        message = batch[number % len(batch)]
        # Spread by number, not by key: few keys would make few partitions.
        producer.produce(topic, f"{due!r}\n".encode() + message.value, message.key, number % partitions)
    producer.flush(FLUSH_LIMIT_S)
    reader.wait_for(total)
    reader.close()
    used = used_between(before, read_clock(brokers.pids))
    return {
        "rate_per_s": rate_per_s,
        "messages": total,
        "latency_ms": _latency_ms(reader.delays_s),
        "broker_us_per_message": 1e6 * sum(used[name] for name in brokers.pids) / total,
    }


class _Reader:
    """Reads all partitions from their ends on, in a thread of its own, and notes how late each message is."""

    def __init__(self, brokers: Brokers, topic: str, partitions: int) -> None:
        self.delays_s: list[float] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers.bootstrap,
                "group.id": f"{topic}-reader",
                "enable.auto.commit": False,
                "log_level": CLIENT_LOG_LEVEL,
            }
        )
        starts = []
        for partition in range(partitions):
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=FLUSH_LIMIT_S)
            starts.append(TopicPartition(topic, partition, high))
        self._consumer.assign(starts)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended.is_set():
            for message in self._consumer.consume(500, 0.05):
                now = time.perf_counter()
                value = message.value()
                assert value is not None
                due, _, _ = value.partition(b"\n")
                self.delays_s.append(now - float(due))

    def wait_for(self, count: int) -> None:
        """Raises TimeoutError if so many have not come."""
        deadline = time.monotonic() + ARRIVAL_LIMIT_S
        while len(self.delays_s) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.delays_s)} of {count} messages have arrived")
            time.sleep(0.01)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._consumer.close()


def _warm(producer: Producer, topic: str, partitions: int, batch: Sequence[Message]) -> None:
    """The first message of an idempotent producer waits for its id, and the first of a partition for its leader."""
    for number in range(max(WARM_MESSAGES, partitions)):
        producer.produce(topic, batch[0].value, batch[0].key, number % partitions)
    producer.flush(FLUSH_LIMIT_S)


def _settle(producer: Producer) -> None:
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end:
        producer.poll(0.05)


def _latency_ms(latencies_s: Sequence[float]) -> dict[str, float]:
    ordered = sorted(latencies_s)
    shares = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
    return {name: 1000 * percentile(ordered, share) for name, share in shares} | {
        "mean": 1000 * sum(ordered) / len(ordered)
    }
