"""Kafka brokers that a measurement starts for itself, and topics on them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from confluent_kafka.cimpl import NewTopic

from deploy.local import kafka, packages
from deploy.local.ports import free_port
from sluice.kafka_topics import open_admin

MAKE_LIMIT_S = 30.0
"""512 partitions with three copies each take some seconds."""


class Brokers(NamedTuple):
    bootstrap: str
    pids: Mapping[str, int]
    copies: int


@contextmanager
def running_brokers(directory: Path, count: int = 1) -> Iterator[Brokers]:
    """Each with its data below `directory`; as many copies of each partition as there are brokers."""
    java = packages.require().java
    taken: list[int] = []
    for _ in range(2 * count):
        taken.append(free_port(taken=taken))
    made = [kafka.Broker(f"kafka-{count}-{i + 1}", taken[2 * i], taken[2 * i + 1]) for i in range(count)]
    processes = [
        kafka.create(directory / broker.name, made, index, java, directory / f"{broker.name}.log")
        for index, broker in enumerate(made)
    ]
    try:
        for process in processes:
            process.launch()
        for process, broker in zip(processes, made, strict=True):
            process.wait_until(lambda broker=broker: kafka.answers(broker.port, count))  # type: ignore[misc]
        pids = {process.command.name: process.identity.pid for process in processes if process.identity}
        yield Brokers(kafka.bootstrap(made), pids, count)
    finally:
        for process in processes:
            process.kill()


def make_topic(brokers: Brokers, partitions: int) -> str:
    """A new one."""
    name = f"bench-{partitions}-{uuid4().hex[:8]}"
    admin = open_admin(brokers.bootstrap)
    topic = NewTopic(name, partitions, brokers.copies)
    admin.create_topics([topic], operation_timeout=MAKE_LIMIT_S)[name].result(MAKE_LIMIT_S)
    return name


def delete_topic(brokers: Brokers, topic: str) -> None:
    admin = open_admin(brokers.bootstrap)
    admin.delete_topics([topic], operation_timeout=MAKE_LIMIT_S)[topic].result(MAKE_LIMIT_S)
