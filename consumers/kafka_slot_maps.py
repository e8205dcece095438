"""The slot maps as relays publish them on the topic `slot-map`."""

import logging
import time
import uuid
from collections.abc import Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import ANSWER_LIMIT_S, CLIENT_LOG_LEVEL, TOPIC_SLOT_MAPS
from sluice.slot_map import PublishedMap, read_published_form

READ_WAIT_S = 0.2

PARTITION = 0

_kafka_logger = logging.getLogger("sluice.kafka")


class KafkaSlotMaps:
    """Reads on from where it was. Used by one thread at a time; connects for each look, because there are few."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._next = 0

    def read_on(self) -> Sequence[PublishedMap]:
        """What was published since the last call; nothing if no relay ever made the topic. Raises LogUnreachable."""
        consumer = Consumer(
            {
                **client_properties(self._bootstrap),
                # Required by the client; nothing is ever committed under this name.
                "group.id": f"sluice-reader-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "enable.partition.eof": True,
                "log_level": CLIENT_LOG_LEVEL,
            },
            logger=_kafka_logger,
        )
        try:
            return self._read_on(consumer)
        except KafkaException as error:
            raise LogUnreachable(str(error)) from error
        finally:
            consumer.close()

    def _read_on(self, consumer: Consumer) -> Sequence[PublishedMap]:
        if TOPIC_SLOT_MAPS not in consumer.list_topics(timeout=ANSWER_LIMIT_S).topics:
            return []
        marks = consumer.get_watermark_offsets(TopicPartition(TOPIC_SLOT_MAPS, PARTITION), timeout=ANSWER_LIMIT_S)
        if marks is None:
            raise LogUnreachable(f"no answer for the end of {TOPIC_SLOT_MAPS} in {ANSWER_LIMIT_S:g} s")
        _, end = marks
        if self._next >= end:
            return []
        consumer.assign([TopicPartition(TOPIC_SLOT_MAPS, PARTITION, self._next)])
        deadline = time.monotonic() + ANSWER_LIMIT_S
        found: list[PublishedMap] = []
        at = self._next
        while at < end:
            if time.monotonic() > deadline:
                raise LogUnreachable(f"nothing came from {TOPIC_SLOT_MAPS} for {ANSWER_LIMIT_S:g} s")
            message = consumer.poll(READ_WAIT_S)
            if message is None:
                continue
            offset, value, error = message.offset(), message.value(), message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the last records may be compacted away
                    break
                continue
            assert offset is not None
            at = offset + 1
            if value is not None and (published := _read(value)) is not None:
                found.append(published)
        self._next = max(at, end)
        return found


def _read(value: bytes) -> PublishedMap | None:
    try:
        return read_published_form(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        structlog.get_logger(__name__).warning("slot_map_unreadable", error=repr(error))
        return None
