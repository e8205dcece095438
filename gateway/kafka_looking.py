"""Looks into `order-requested` at a position: one record, for whoever asks about an order that is not decided yet."""

import asyncio
import logging
import threading
import time
import uuid
from collections import OrderedDict

from confluent_kafka import Consumer, KafkaException, TopicPartition

from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import CLIENT_LOG_LEVEL
from sluice.model import QueuePosition
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED

LOOK_LIMIT_S = 0.9
"""For one look."""

ANSWER_LIMIT_S = 1.8
"""For a look and those before it: it is one at a time."""

RECORDS_AT_ONCE = 500
WAIT_S = 0.02
"""What stands behind a record comes with it, and is kept: orders that wait together are asked for together."""

KEPT_RECORDS = 20_000
"""A record never changes. About 300 bytes each, so 6 MB."""


class KafkaLooking:
    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._one_at_a_time = asyncio.Lock()
        # Who is told that it takes too long leaves its thread behind.
        self._fetching = threading.Lock()
        self._consumer: Consumer | None = None
        self._kept: OrderedDict[QueuePosition, bytes] = OrderedDict()

    async def look(self, position: QueuePosition) -> bytes | None:
        """The value of the record; None if there is none. Raises LogUnreachable."""
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S), self._one_at_a_time:
                if position not in self._kept:
                    await asyncio.to_thread(self._fetch, position)
        except TimeoutError as error:
            raise LogUnreachable(f"no answer within {ANSWER_LIMIT_S} s") from error
        return self._kept.get(position)

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def _fetch(self, position: QueuePosition) -> None:
        with self._fetching:
            self._fetch_alone(position)

    def _fetch_alone(self, position: QueuePosition) -> None:
        if self._consumer is None:
            self._consumer = Consumer(_settings(self._bootstrap), logger=logging.getLogger("sluice.kafka"))
        try:
            if self._is_there(self._consumer, position):
                self._keep(self._consumer, position)
        except KafkaException as error:
            raise LogUnreachable(str(error)) from error

    def _is_there(self, consumer: Consumer, position: QueuePosition) -> bool:
        partition = TopicPartition(TOPIC_ORDER_REQUESTED, position.partition)
        marks = consumer.get_watermark_offsets(partition, timeout=LOOK_LIMIT_S)
        if marks is None:
            raise LogUnreachable(f"no answer for the end of {partition}")
        low, high = marks
        return bool(low <= position.offset < high)

    def _keep(self, consumer: Consumer, position: QueuePosition) -> None:
        """The record at this position, and those behind it that came along. A record without a value is empty."""
        consumer.assign([TopicPartition(TOPIC_ORDER_REQUESTED, position.partition, position.offset)])
        give_up_at = time.monotonic() + LOOK_LIMIT_S
        while position not in self._kept:
            if time.monotonic() > give_up_at:
                raise LogUnreachable(f"no answer for {TOPIC_ORDER_REQUESTED} at {position}")
            for message in consumer.consume(RECORDS_AT_ONCE, WAIT_S):
                partition, offset = message.partition(), message.offset()
                if message.error() is None and partition is not None and offset is not None:
                    self._kept[QueuePosition(partition, offset)] = message.value() or b""
        consumer.unassign()
        while len(self._kept) > KEPT_RECORDS:
            self._kept.popitem(last=False)


def _settings(bootstrap: str) -> dict[str, str | int | bool]:
    return {
        **client_properties(bootstrap),
        # Required by the client; nothing is ever committed under this name.
        "group.id": f"sluice-looker-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 10,
        # The default is a second: a look right after another one would wait for it.
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": RECORDS_AT_ONCE,
        "queued.max.messages.kbytes": 1_024,
        "reconnect.backoff.max.ms": 500,
        "log_level": CLIENT_LOG_LEVEL,
    }
