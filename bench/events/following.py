"""How far a topic is written, and how far a consumer says that it is."""

import time
from collections.abc import Mapping
from urllib.request import urlopen

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from prometheus_client.parser import text_string_to_metric_families

from sluice.kafka_topics import ANSWER_LIMIT_S

POLL_S = 0.1
SCRAPE_LIMIT_S = 5.0
HANDLED = "sluice_consumer_events_handled_total"


class NotInTime(Exception):
    """What was waited for has not come; the text says what."""


def ends(admin: AdminClient, topic: str) -> Mapping[int, int]:
    """One past the last record, by partition."""
    count = len(admin.list_topics(topic, timeout=ANSWER_LIMIT_S).topics[topic].partitions)
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(count)}  # type: ignore[no-untyped-call]
    answers = admin.list_offsets(asked, request_timeout=ANSWER_LIMIT_S)
    return {place.partition: answer.result(ANSWER_LIMIT_S).offset for place, answer in answers.items()}


def handled(metrics_url: str) -> int:
    """Events that the consumers of a process are done with."""
    with urlopen(metrics_url, timeout=SCRAPE_LIMIT_S) as page:
        families = text_string_to_metric_families(page.read().decode())
    return int(sum(each.value for family in families for each in family.samples if each.name == HANDLED))


def work_through(metrics_url: str, total: int, limit_s: float) -> tuple[int, float, bool]:
    """Events from the moment that the consumer has handled its first until it has handled `total`, or until the limit;
    the seconds between, and whether it has handled all. Raises NotInTime if it handles nothing.
    """
    deadline = time.monotonic() + limit_s
    first = last = (0, 0.0)
    while last[0] < total and time.monotonic() < deadline:
        done = handled(metrics_url)
        if done != last[0]:
            last = (done, time.monotonic())
            first = first if first[0] else last
        time.sleep(POLL_S)
    if last == first:
        raise NotInTime(f"{last[0]} of {total} events are handled after {limit_s:g} s")
    return last[0] - first[0], last[1] - first[1], last[0] >= total
