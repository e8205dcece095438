"""How far a topic is written, and how far a consumer says that it is."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.request import urlopen

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from prometheus_client.parser import text_string_to_metric_families

from sluice.kafka_topics import ANSWER_LIMIT_S

POLL_S = 0.1
SCRAPE_LIMIT_S = 5.0
FEWEST_SEEN = 2
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


class Worked(NamedTuple):
    """From the first event that was seen to be handled to the last: how many events, in how long, and whether that was
    all. `later_events_per_s`: of the second half of that time, when servers that had just started have compiled.
    """

    events: int
    seconds: float
    finished: bool
    later_events_per_s: float


def work_through(metrics_url: str, total: int, limit_s: float) -> Worked:
    """Until the consumer has handled `total`, or until the limit. Raises NotInTime if it handles nothing."""
    deadline = time.monotonic() + limit_s
    seen: list[tuple[float, int]] = []
    done = 0
    while done < total and time.monotonic() < deadline:
        now_done = handled(metrics_url)
        if now_done != done:
            done = now_done
            seen.append((time.monotonic(), done))
        time.sleep(POLL_S)
    return worked(seen, total)


def worked(seen: Sequence[tuple[float, int]], total: int) -> Worked:
    """What it makes of events handled by time. Raises NotInTime if they are too few to tell a rate."""
    if len(seen) < FEWEST_SEEN:
        raise NotInTime(f"{seen[-1][1] if seen else 0} of {total} events are handled")
    (began, first), (ended, last) = seen[0], seen[-1]
    half, at_half = max((each for each in seen[:-1] if each[0] <= (began + ended) / 2), default=seen[0])
    return Worked(last - first, ended - began, last >= total, (last - at_half) / (ended - half))
