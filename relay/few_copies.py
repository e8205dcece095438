"""Tells the log of topics whose acknowledged events can be lost with one broker, where there are several.

Topics that the relay makes are as they should be. Those that somebody else made, or that were made before there were
several brokers, may have one copy, or count an event as written when one of three copies has it.
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from sluice.kafka_topics import ANSWER_LIMIT_S, LEAST_IN_SYNC, open_admin

_log = structlog.get_logger(__name__)


async def tell_of_few_copies(bootstrap: str, topics: Sequence[str]) -> None:
    """One line for all of them. Who may not ask for settings hears nothing: it is advice. Raises LogUnreachable."""
    try:
        few = await asyncio.to_thread(_few_copies, bootstrap, topics)
    except (KafkaException, TimeoutError) as error:
        _log.debug("the copies of topics are not known", reason=str(error))
        return
    if few:
        _log.warning("acknowledged events can be lost with one broker", topics=few)


def _few_copies(bootstrap: str, topics: Sequence[str]) -> Mapping[str, str]:
    """Why, by topic."""
    admin = open_admin(bootstrap)
    listed = admin.metadata()
    if len(listed.brokers) == 1:
        return {}
    few: dict[str, str] = {}
    asked = []
    for topic in set(topics) & listed.topics.keys():  # a broker may not have heard yet of what was just made
        copies = min((len(each.replicas) for each in listed.topics[topic].partitions.values()), default=1)
        if copies == 1:
            few[topic] = "has one copy"
        else:
            asked.append(ConfigResource(ResourceType.TOPIC, topic))
    described = admin.describe_configs(asked, request_timeout=ANSWER_LIMIT_S) if asked else {}
    for resource, answer in described.items():
        in_sync = int(answer.result(ANSWER_LIMIT_S)[LEAST_IN_SYNC].value or 1)
        if in_sync == 1:
            few[resource.name] = f"{LEAST_IN_SYNC} is 1"
    return few
