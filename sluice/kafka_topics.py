"""The topics that the relay writes: made if they are not there, and their partition counts."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata
from confluent_kafka.cimpl import NewTopic

from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.seams.event_log import (
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CREATED,
    TOPIC_ORDER_REJECTED,
    TOPIC_ORDER_REQUESTED,
    TOPIC_ORDER_VALIDATED,
    TOPIC_STOCK_CHANGED,
)
from sluice.slots import SLOT_COUNT

RELAY_TOPICS = (
    TOPIC_ORDER_CREATED,
    TOPIC_ORDER_VALIDATED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_REJECTED,
    TOPIC_STOCK_CHANGED,
)

ORDER_REQUESTED_PARTITIONS = 64
"""From the start and for good: gateways write this topic, any number of them, and nothing holds back what they write
while slots move. More partitions than a cluster of this size will need cost it little."""

TOPIC_SLOT_MAPS = "slot-map"
"""The slot maps of every journal, topic and epoch, for whoever wants to know where a key is. Compacted, one partition.
"""

SLOT_MAP_SEGMENT_BYTES = 1_048_576
"""The least that Kafka takes; some fifty maps."""

LEAST_IN_SYNC = "min.insync.replicas"

ANSWER_LIMIT_S = 5.0
"""For one metadata or admin request. A broker that is up answers in milliseconds, one that starts within seconds."""

CLIENT_LOG_LEVEL = 2
"""Critical. The client logs every failed connection as an error, about one a second while Kafka is away; what matters
reaches its caller as an error or an exception."""

SPREAD_POLL_S = 0.02
"""Between looks whether a new topic is known; brokers hear of it within some 10 ms."""


class UnusableTopic(Exception):
    """The topic cannot take events: it is missing, or its partition count does not divide the slots."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"topic {topic}: {reason}")
        self.topic = topic
        self.reason = reason


async def make_topics(
    bootstrap: str, topics: Sequence[str], *, partitions: int, replication_factor: int
) -> Mapping[str, int]:
    """Makes the topics that are missing; the partition count of each. Topics that are there stay as they are.

    Raises LogUnreachable, UnusableTopic.
    """
    return await asyncio.to_thread(_make_topics, bootstrap, topics, partitions, replication_factor)


async def make_slot_map_topic(bootstrap: str, *, replication_factor: int) -> None:
    """Raises LogUnreachable, UnusableTopic."""
    # Only segments that are closed are compacted, and each start of a relay writes all maps again.
    config = {"cleanup.policy": "compact", "segment.bytes": str(SLOT_MAP_SEGMENT_BYTES)}
    topic = NewTopic(TOPIC_SLOT_MAPS, 1, replication_factor, config=config | _durability(replication_factor))
    await asyncio.to_thread(_make, open_admin(bootstrap), [topic])


async def make_request_topic(bootstrap: str, *, replication_factor: int) -> None:
    """`order-requested`. More partitions than it should have are left empty; with fewer it is unusable.

    Raises LogUnreachable, UnusableTopic.
    """
    counts = await make_topics(
        bootstrap,
        [TOPIC_ORDER_REQUESTED],
        partitions=ORDER_REQUESTED_PARTITIONS,
        replication_factor=replication_factor,
    )
    if (count := counts[TOPIC_ORDER_REQUESTED]) < ORDER_REQUESTED_PARTITIONS:
        raise UnusableTopic(TOPIC_ORDER_REQUESTED, f"has {count} partitions instead of {ORDER_REQUESTED_PARTITIONS}")


async def partition_counts(bootstrap: str, topics: Sequence[str]) -> Mapping[str, int]:
    """Raises LogUnreachable, UnusableTopic."""
    return await asyncio.to_thread(_partition_counts, open_admin(bootstrap), topics)


async def list_topics(bootstrap: str) -> Mapping[str, int]:
    """The partition count of every topic that the brokers know; 0 while a topic has none yet. Raises LogUnreachable."""
    return await asyncio.to_thread(open_admin(bootstrap).partition_counts)


class Admin(AdminClient):
    """Knows what its connections heard last: that a request was not answered in time does not say why."""

    def __init__(self, bootstrap: str) -> None:
        self._heard: deque[str] = deque(maxlen=1)
        settings: dict[str, Any] = {
            **client_properties(bootstrap),
            "error_cb": partial(_hear, self._heard),  # not a method: that would keep this for ever
            "log_level": CLIENT_LOG_LEVEL,
        }
        super().__init__(settings, logger=logging.getLogger("sluice.kafka"))

    def partition_counts(self) -> Mapping[str, int]:
        """Of every topic that the brokers know; 0 while a topic has none yet. Raises as `metadata`."""
        return {name: len(topic.partitions) for name, topic in self.metadata().topics.items()}

    def knows_several_brokers(self) -> bool:
        """Raises as `metadata`."""
        return len(self.metadata().brokers) > 1

    def metadata(self) -> ClusterMetadata:
        """As the broker that answers has it. Raises LogUnreachable, which says why."""
        self.poll(0)  # what was heard before this request says nothing of it, and would pile up
        self._heard.clear()
        try:
            return self.list_topics(timeout=ANSWER_LIMIT_S)
        except KafkaException as error:
            self.poll(0)
            raise LogUnreachable(": ".join([str(error), *self._heard])) from error


def _hear(heard: deque[str], error: KafkaError) -> None:
    if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - which says less than those before it
        heard.append(error.str())


def open_admin(bootstrap: str) -> Admin:
    return Admin(bootstrap)


def _make_topics(bootstrap: str, topics: Sequence[str], partitions: int, replication_factor: int) -> Mapping[str, int]:
    admin = open_admin(bootstrap)
    config = _durability(replication_factor)
    _make(admin, [NewTopic(topic, partitions, replication_factor, config=config) for topic in topics])
    return _counted(_wait_until_known(admin, topics), topics)


def _durability(copies: int) -> dict[str, str]:
    """Of three copies two must have an event before it counts as written: a broker's own default is one, and then what
    is acknowledged is lost with the broker that happened to be alone with it.
    """
    return {LEAST_IN_SYNC: str((copies + 1) // 2)} if copies > 2 else {}


def _make(admin: Admin, topics: Sequence[NewTopic]) -> None:
    there = admin.partition_counts()
    missing = [topic for topic in topics if topic.topic not in there]
    if missing:
        created = admin.create_topics(missing, operation_timeout=ANSWER_LIMIT_S, request_timeout=ANSWER_LIMIT_S)
        for topic, creation in created.items():
            try:
                creation.result()
            except KafkaException as error:
                _raise_unless_made_meanwhile(topic, error)
        _wait_until_known(admin, [topic.topic for topic in missing])


def _wait_until_known(admin: Admin, topics: Sequence[str]) -> Mapping[str, int]:
    """The controller answers before the brokers have heard of a new topic, and one of them hears of it before another:
    so what is listed here is what counts, and no later listing.
    """
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while unknown := set(topics) - (listed := admin.partition_counts()).keys():
        if time.monotonic() > deadline:
            raise LogUnreachable(f"{sorted(unknown)} made, but not known to the brokers after {ANSWER_LIMIT_S:g} s")
        time.sleep(SPREAD_POLL_S)
    return listed


def _raise_unless_made_meanwhile(topic: str, error: KafkaException) -> None:
    kafka_error = error.args[0]
    if kafka_error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
        return
    if kafka_error.retriable() or kafka_error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):  # noqa: SLF001
        raise LogUnreachable(str(error)) from error
    raise UnusableTopic(topic, str(error)) from error


def _partition_counts(admin: Admin, topics: Sequence[str]) -> Mapping[str, int]:
    listed = admin.partition_counts()
    if not set(topics) <= listed.keys() and admin.knows_several_brokers():
        # The broker that was asked may not have heard yet of what another one has.
        with contextlib.suppress(LogUnreachable):
            listed = _wait_until_known(admin, topics)
    return _counted(listed, topics)


def _counted(listed: Mapping[str, int], topics: Sequence[str]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for topic in topics:
        if topic not in listed:
            raise UnusableTopic(topic, "is missing")
        counts[topic] = listed[topic]
        if not counts[topic]:
            raise LogUnreachable(f"topic {topic} has no partitions yet")
        if SLOT_COUNT % counts[topic]:
            raise UnusableTopic(topic, f"has {counts[topic]} partitions, which does not divide the {SLOT_COUNT} slots")
    return counts
