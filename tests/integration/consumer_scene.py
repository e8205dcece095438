"""Processes that consume a topic, on a broker of a test's choice, and what they have handled."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from consumers.runtime.kafka_polling import read_places
from relay.kafka_log import KafkaLog
from relay.kafka_publisher import KafkaPublisher
from sluice.kafka_topics import make_topics
from sluice.seams.event_log import Event, Position
from sluice.slot_map import first_maps

ROOT = Path(__file__).parents[2]
PARTITIONS = 4


class Scene:
    """One topic of its own on the broker, written as a relay writes, and processes that consume it."""

    def __init__(self, bootstrap: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.topic = f"t{uuid4().hex[:10]}"
        self.group = f"g{uuid4().hex[:10]}"
        self.file = directory / "handled"
        self.journal = uuid4()
        self.written: dict[str, list[tuple[int, int]]] = {}
        self.number = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, **settings: str) -> subprocess.Popen[bytes]:
        environment = (
            os.environ
            | {
                "SINK_FILE": str(self.file),
                "SLUICE_KAFKA": self.bootstrap,
                "SLUICE_GROUP": self.group,
                "SLUICE_TOPICS": self.topic,
                "SLUICE_LOG_FORMAT": "json",
            }
            | {f"SLUICE_{name.upper()}": value for name, value in settings.items()}
        )
        command = [sys.executable, "-m", "commands.main", "consume", "tests.integration.consumer_sink:handle"]
        with self._log(len(self.processes)).open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def _log(self, index: int) -> Path:
        return self.file.with_name(f"log-{index}")

    async def until_logged(self, process: subprocess.Popen[bytes], event: str) -> None:
        log = self._log(self.processes.index(process))
        await until(lambda: f'"{event}"' in log.read_text(), f"{event} in {log}")

    def events(self, keys: int, per_key: int) -> list[Event]:
        """The next events of `keys` keys, one row for each round."""
        made = []
        for _ in range(per_key):
            self.number += 1
            for place in range(keys):
                key = f"key-{place}"
                self.written.setdefault(key, []).append((self.number, place))
                position = Position(self.journal, self.number, place)
                made.append(Event(self.topic, key, b"value", f"{key}/{self.number}", "test", self.number, position))
        return made

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[KafkaPublisher]:
        counts = await make_topics(self.bootstrap, [self.topic], partitions=PARTITIONS, replication_factor=1)
        publisher = KafkaPublisher(self.bootstrap, first_maps(counts))
        try:
            yield publisher
        finally:
            await publisher.close()

    async def write(self, events: list[Event]) -> None:
        async with self.publisher() as publisher:
            await publisher.publish(events)

    def handled(self) -> list[tuple[str, int, int]]:
        if not self.file.exists():
            return []
        lines = self.file.read_text().splitlines()
        return [(key, int(number), int(place)) for key, number, place in (line.split() for line in lines)]

    def applied(self) -> dict[str, list[tuple[int, int]]]:
        """What a sink holds that remembers each key's last position; fails if an event comes before its predecessor."""
        at = dict.fromkeys(self.written, 0)
        for key, number, place in self.handled():
            index = self.written[key].index((number, place))
            assert index <= at[key], f"{key} {number}/{place} was handled before its predecessor"
            at[key] = max(at[key], index + 1)
        return {key: self.written[key][:count] for key, count in at.items()}

    async def until_all_handled(self, but: tuple[str, ...] = (), limit_s: float = 60.0) -> None:
        wanted = {each for key, positions in self.written.items() if key not in but for each in positions}
        await until(
            lambda: wanted <= {(number, place) for key, number, place in self.handled() if key not in but},
            f"all {len(wanted)} events are handled",
            limit_s,
        )
        self.applied()

    def _committed(self) -> list[TopicPartition]:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group})
        found = consumer.committed([TopicPartition(self.topic, n) for n in range(PARTITIONS)], timeout=10)
        consumer.close()
        return found

    def committed_offsets(self) -> dict[int, int]:
        return {each.partition: max(0, each.offset) for each in self._committed()}

    async def logged_below(self, offsets: Mapping[int, int]) -> set[tuple[str, int, int]]:
        """As `handled` has them."""
        return {
            (each.event.key, each.event.position.number, each.event.position.place)
            async for each in KafkaLog(self.bootstrap).read(self.topic, follow=False)
            if each.offset < offsets[each.partition]
        }

    def committed(self) -> tuple[int, int]:
        """(sum of committed offsets, highest row number in their metadata)"""
        found = self._committed()
        places = [read_places(each.metadata).get(self.journal, (0, 0))[0] for each in found]
        return sum(max(0, each.offset) for each in found), max(places)

    def dlq(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "commands.main", "dlq", *arguments, "--kafka", self.bootstrap]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


async def until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not after {limit_s:g} s: {what}"
        await asyncio.sleep(0.1)
