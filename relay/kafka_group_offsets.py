"""How far consumer groups have committed, asked by a consumer of the group's name that joins nothing.

The admin client has a call for it and must not be used: librdkafka (2.16.1) ends the process in it when a coordinator
answers that it is not the coordinator any more. A consumer has the coordinator that the answer is about, and looks for
the new one. One that subscribes to nothing is no member: nobody's partitions move.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import CLIENT_LOG_LEVEL

ASKED_AT_ONCE = 16
"""Groups. Each costs a connection or two and some threads for the time of an answer."""

RETRY_PAUSE_S = 0.05
"""A broker that takes groups over needs some tenths of a second. The client tries again by itself after most such
answers."""

_BETWEEN_COORDINATORS = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError._WAIT_COORD,  # noqa: SLF001 - the client's name
)


class GroupOffsetsUnknown(LogUnreachable):
    """No coordinator of the group said in time how far it is."""

    def __init__(self, group: str, reason: KafkaException) -> None:
        super().__init__(f"how far the group {group} has committed is not known: {reason}")
        self.group = group


def committed_offsets(
    bootstrap: str, groups: Sequence[str], places: Sequence[TopicPartition], *, limit_s: float
) -> Mapping[str, Mapping[int, int]]:
    """By group and partition of the one topic of `places`, only where something is. Raises GroupOffsetsUnknown."""
    if not groups:
        return {}
    # Beside each other: while a move is paused, every event waits for this.
    with ThreadPoolExecutor(min(ASKED_AT_ONCE, len(groups)), "group-offsets") as threads:
        found = threads.map(lambda group: _of_group(bootstrap, group, places, limit_s), groups)
        return dict(zip(groups, found, strict=True))


def _of_group(bootstrap: str, group: str, places: Sequence[TopicPartition], limit_s: float) -> Mapping[int, int]:
    deadline = time.monotonic() + limit_s
    settings = {
        **client_properties(bootstrap),
        "group.id": group,
        "enable.auto.commit": False,
        "log_level": CLIENT_LOG_LEVEL,
    }
    with closing(Consumer(settings)) as consumer:
        while True:
            try:
                return _answer(consumer.committed(list(places), timeout=max(0.0, deadline - time.monotonic())))
            except KafkaException as error:
                between = error.args[0].code() in _BETWEEN_COORDINATORS
                if not between or time.monotonic() + RETRY_PAUSE_S > deadline:
                    raise GroupOffsetsUnknown(group, error) from error
            time.sleep(RETRY_PAUSE_S)


def _answer(found: Sequence[TopicPartition]) -> Mapping[int, int]:
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return {each.partition: each.offset for each in found if each.offset >= 0}
