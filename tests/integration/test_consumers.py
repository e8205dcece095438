"""Consumers on a real broker, in processes that come, go and die: every event is handled, a key's events in order."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumers.runtime.kafka_polling import read_places
from deploy.local.processes import Process
from relay.kafka_log import KafkaLog, KafkaPublisher
from sluice.kafka_topics import make_topics
from sluice.seams.event_log import TOPIC_ORDER_CREATED, Event, Position
from sluice.slot_map import first_maps
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
AWAY_S = float(os.environ.get("SLUICE_TEST_AWAY_S", "5"))
"""How long a sink is away. With 30 the whole file takes a minute longer and shows nothing else."""

TOPIC = TOPIC_ORDER_CREATED


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[Process, str]]:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield process, bootstrap


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


@pytest.fixture
def scene(broker: tuple[Process, str], tmp_path: Path) -> Iterator[Scene]:
    made = Scene(broker[1], tmp_path)
    yield made
    made.stop()


async def until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not after {limit_s:g} s: {what}"
        await asyncio.sleep(0.1)


async def test_every_event_is_handled_once_and_committed_on_sigterm(scene: Scene) -> None:
    await scene.write(scene.events(keys=50, per_key=40))
    process = scene.start()
    await scene.until_all_handled()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert len(scene.handled()) == 2_000
    assert scene.committed() == (2_000, 40)
    await scene.write(scene.events(keys=50, per_key=1))
    scene.start()
    await scene.until_all_handled()
    assert len(scene.handled()) == 2_050


async def test_members_come_and_go_and_die_while_a_killed_relay_repeats_itself(scene: Scene) -> None:
    scene.start()
    stop_writing = asyncio.Event()

    async def write() -> None:
        """Every few rounds the publisher dies and the next one begins some rows back, as a relay does."""
        while not stop_writing.is_set():
            async with scene.publisher() as publisher:
                recent: list[Event] = []
                for _ in range(6):
                    events = scene.events(keys=40, per_key=5)
                    await publisher.publish(events)
                    recent = (recent + events)[-600:]
            async with scene.publisher() as publisher:
                await publisher.publish(recent)

    writing = asyncio.create_task(write())
    await until(lambda: len(scene.handled()) > 0, "the first event is handled")
    second = scene.start()
    await scene.until_logged(second, "partitions_assigned")
    third = scene.start()
    await scene.until_logged(third, "partitions_assigned")
    second.kill()
    third.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(third.wait, 30) == 0
    scene.start()
    await asyncio.sleep(3)
    stop_writing.set()
    await writing
    # The killed one's partitions are free when its session ends.
    await scene.until_all_handled(limit_s=90)
    assert {key: len(found) for key, found in scene.applied().items()} == {
        key: len(positions) for key, positions in scene.written.items()
    }


async def test_a_clean_hand_over_repeats_nothing(scene: Scene) -> None:
    await scene.write(scene.events(keys=40, per_key=5))
    first = scene.start()
    await scene.until_all_handled()
    scene.start()
    await scene.until_logged(first, "partitions_given_up")
    await scene.write(scene.events(keys=40, per_key=5))
    first.send_signal(signal.SIGTERM)
    await scene.write(scene.events(keys=40, per_key=5))
    await scene.until_all_handled()
    assert len(scene.handled()) == 600


async def test_a_sink_that_is_away_delays_and_buries_nothing(scene: Scene) -> None:
    away = scene.file.with_suffix(".away")
    away.touch()
    await scene.write(scene.events(keys=20, per_key=10))
    await scene.until_logged(scene.start(), "consumer_waits_for_dependency")
    await asyncio.sleep(AWAY_S)
    assert scene.handled() == []
    away.unlink()
    await scene.until_all_handled()
    assert len(scene.handled()) == 200
    assert "no key is parked" in scene.dlq("list")


async def test_a_poisoned_key_is_parked_and_replayed(scene: Scene) -> None:
    poison = scene.file.with_suffix(".poison")
    poison.write_text("key-3")
    await scene.write(scene.events(keys=8, per_key=3))
    process = scene.start()
    await scene.until_all_handled(but=("key-3",))
    await until(lambda: _letters(scene) == 3, "the key is parked with all its events")
    process.kill()
    await scene.write(scene.events(keys=8, per_key=2))
    poison.unlink()
    scene.start()  # parked is parked, also for a process that has just come
    await scene.until_all_handled(but=("key-3",))
    await until(lambda: _letters(scene) == 5, "the later events have followed")
    assert all(key != "key-3" for key, _, _ in scene.handled())
    scene.dlq("replay", scene.group, scene.topic, "key-3")
    await scene.until_all_handled()
    await until(lambda: "no key is parked" in scene.dlq("list"), "the key is free")
    await scene.write(scene.events(keys=8, per_key=1))
    await scene.until_all_handled()


def _letters(scene: Scene) -> int:
    rows = [json.loads(line) for line in scene.dlq("list", "--json").splitlines()]
    return sum(row["letters"] for row in rows if row["consumer"] == scene.group)


async def test_a_slow_event_holds_up_its_lane_only_and_the_commit(scene: Scene) -> None:
    scene.file.with_suffix(".slow").write_text("key-3 8")
    await scene.write(scene.events(keys=60, per_key=1))
    begin = time.monotonic()
    scene.start()
    await until(lambda: len(scene.handled()) >= 45, "most of the others are handled")
    assert all(key != "key-3" for key, _, _ in scene.handled())
    assert scene.committed()[0] < 60
    await scene.until_all_handled()
    assert time.monotonic() - begin >= 8


async def test_commits_never_pass_an_unfinished_event_whatever_goes_wrong_at_once(scene: Scene) -> None:
    """A poisoned key, an event that takes 10 s, a sink that is away for a while, a member that is killed: a commit says
    at every moment that all below it is handled, or is a dead letter.
    """
    scene.file.with_suffix(".poison").write_text("key-3")
    scene.file.with_suffix(".slow").write_text("key-7 10")
    await scene.write(scene.events(keys=60, per_key=1))
    scene.start()
    dying = scene.start()
    await scene.until_logged(dying, "partitions_assigned")
    looks: list[int] = []
    enough = asyncio.Event()

    async def look() -> None:
        while not enough.is_set():
            looks.append(await assert_committed_is_handled(scene))
            await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    await until(lambda: len(scene.handled()) >= 30 or looking.done(), "others are handled while one is slow")
    assert all(key != "key-7" for key, _, _ in scene.handled())
    away = scene.file.with_suffix(".away")
    away.touch()
    await scene.write(scene.events(keys=60, per_key=3))
    await scene.until_logged(dying, "consumer_waits_for_dependency")
    dying.kill()
    await asyncio.sleep(2)
    away.unlink()
    scene.file.with_suffix(".slow").unlink()
    await scene.until_all_handled(but=("key-3",), limit_s=90)
    await until(lambda: _letters(scene) == 4, "the poisoned key is parked with all its events")
    await until(lambda: scene.committed()[0] == 240 or looking.done(), "everything is committed")
    enough.set()
    await looking
    assert looks  # it was looked at while everything went wrong, not only now
    assert await assert_committed_is_handled(scene) == 240


async def assert_committed_is_handled(scene: Scene) -> int:
    """How many events are committed. Commits are read first: what they say was so then."""
    committed = await asyncio.to_thread(scene.committed_offsets)
    handled = set(scene.handled())
    below = await scene.logged_below(committed)
    unfinished = {each for each in below if each[0] != "key-3"} - handled
    assert not unfinished, f"committed and not handled: {sorted(unfinished)[:5]}"
    return len(below)


async def test_the_classic_protocol_does_as_well(scene: Scene) -> None:
    await scene.write(scene.events(keys=20, per_key=5))
    scene.start(group_protocol="classic")
    second = scene.start(group_protocol="classic")
    await scene.until_all_handled()
    await scene.until_logged(second, "partitions_assigned")
    second.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(second.wait, 20) == 0
    await scene.write(scene.events(keys=20, per_key=5))
    await scene.until_all_handled()
    assert len(scene.handled()) == 200


async def test_a_broker_that_restarts_is_waited_for(broker: tuple[Process, str], scene: Scene) -> None:
    await scene.write(scene.events(keys=20, per_key=5))
    scene.start()
    await scene.until_all_handled()
    await asyncio.to_thread(broker[0].kill)
    await asyncio.to_thread(broker[0].start)
    await scene.write(scene.events(keys=20, per_key=5))
    await scene.until_all_handled()
