"""The projection on a real broker and Cassandra, in processes that come and die, from a log with repeats in it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from consumers.projection import fold
from consumers.runtime.handling import now_ms
from relay.kafka_publisher import KafkaPublisher
from sluice._gen.events.v1.events_pb2 import StockChanged
from sluice.kafka_topics import make_topics
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, Event, LoggedEvent, Position
from sluice.seams.stock_projection import Control, SkuState
from sluice.slot_map import first_maps
from stockd.stores.cassandra_projection import CassandraProjection
from tests.integration.buying import until
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
SKUS = [f"sku-{n}" for n in range(12)]


class Scene:
    """A broker, a keyspace, a log that is written as a relay writes it, and consumers in processes of their own."""

    def __init__(self, bootstrap: str, cassandra: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.cassandra = cassandra
        self.directory = directory
        self.keyspace = f"p{uuid4().hex[:10]}"
        self.journal = uuid4()
        self.number = 0
        self.log: list[Event] = []
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "SLUICE_KAFKA": self.bootstrap,
            "SLUICE_CASSANDRA": self.cassandra,
            "SLUICE_KEYSPACE": self.keyspace,
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "commands.main", *arguments]

    def start_consumer(self) -> subprocess.Popen[bytes]:
        with (self.directory / f"consume-{len(self.processes)}").open("wb") as log:
            process = subprocess.Popen(
                self.command("consume", "projection"), cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    async def write(self, rows: int) -> None:
        """Rows of three lines each; every tenth comes twice, as after a crash of a relay."""
        events: list[Event] = []
        for _ in range(rows):
            self.number += 1
            row = [self._event(place) for place in range(3)]
            self.log += row
            events += row + (row if self.number % 10 == 0 else [])
        counts = await make_topics(self.bootstrap, [TOPIC_STOCK_CHANGED], partitions=PARTITIONS, replication_factor=1)
        publisher = KafkaPublisher(self.bootstrap, first_maps(counts))
        await publisher.publish(events)
        await publisher.close()

    def _event(self, place: int) -> Event:
        sku = SKUS[(self.number * 5 + place) % len(SKUS)]
        delta = 1 if self.number % 7 == 0 else -2
        order_id = f"{self.number}-{place}"
        value = StockChanged(sku=sku, delta=delta, order_id=order_id, order_version=1).SerializeToString()
        position = Position(self.journal, self.number, place)
        return Event(TOPIC_STOCK_CHANGED, sku, value, f"{order_id}/{sku}", "test", now_ms(), position)

    def truth(self) -> dict[tuple[str, UUID], SkuState]:
        states = fold({}, [LoggedEvent(event, 0, 0) for event in self.log]).states
        return {(state.sku, state.journal): state for state in states}

    async def open_projection(self) -> CassandraProjection:
        return await CassandraProjection.open(self.cassandra, self.keyspace, 1, "datacenter1", now_ms)

    async def rebuild(self) -> Any:
        """What the command says in the end."""
        process = await asyncio.create_subprocess_exec(
            *self.command("projection", "rebuild", "--json"),
            cwd=ROOT,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return json.loads(out)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """Of this file's own: the topic has a fixed name."""
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield bootstrap


@pytest.fixture
async def scene(broker: str, cassandra_contact_points: str, tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(broker, cassandra_contact_points, tmp_path)
    yield made
    made.stop()


async def test_the_projection_is_what_the_log_says(scene: Scene) -> None:
    projection = await scene.open_projection()

    async def complete() -> bool:
        live = (await projection.control()).live
        return await projection.states(live, SKUS) == scene.truth()

    try:
        scene.start_consumer()
        dying = scene.start_consumer()
        for _ in range(4):
            await scene.write(100)
        await asyncio.sleep(1)  # it may be anywhere in its work
        dying.kill()
        for _ in range(4):
            await scene.write(100)
        await until("every change is in the states, once", complete, limit_s=60.0)
        live = (await projection.control()).live
        for sku in SKUS:
            wanted = [event.event_id for event in scene.log if event.key == sku][::-1][:150]
            recent = await projection.recent(live, sku, 150)
            assert [f"{change.order_id}/{change.sku}" for change in recent] == wanted

        # I8: what is rebuilt is what is live.
        rebuilt = await scene.rebuild()
        assert rebuilt == {
            "events": len(scene.log),
            "states": len(SKUS),
            "same": len(SKUS),
            "behind": 0,
            "differing": 0,
            "skus": [],
        }
        assert (await projection.control()).live != live
        assert await projection.generations() == {(await projection.control()).live}

        # And again while the log grows, a consumer goes on, and something is wrong.
        wrong = next(iter(scene.truth().values()))
        await projection.write((await projection.control()).live, [wrong._replace(place=3, sold=999)], [])
        rebuilding = asyncio.create_task(scene.rebuild())
        while not rebuilding.done():
            await scene.write(20)
        assert (await rebuilding)["states"] == len(SKUS)
        await scene.write(100)
        await until("what was wrong is mended, and nothing is lost", complete, limit_s=60.0)
        assert (await scene.rebuild())["same"] == len(SKUS)
    finally:
        await projection.close()


async def test_a_rebuild_that_is_killed_changes_nothing_and_the_next_one_clears_up(scene: Scene) -> None:
    projection = await scene.open_projection()

    async def complete() -> bool:
        return await projection.states((await projection.control()).live, SKUS) == scene.truth()

    try:
        scene.start_consumer()
        await scene.write(400)
        await until("every change is in the states", complete, limit_s=60.0)
        for stage in (fills_its_generation, hands_over):
            live = (await projection.control()).live
            while not await killed_when(stage, projection, scene):
                live = (await projection.control()).live
            assert (await projection.control()).live == live
            # Consumers may wait for a dead hand-over, until they call it off.
            await scene.write(50)
            await until("consumers go on", complete, limit_s=60.0)
        assert (await scene.rebuild())["same"] == len(SKUS)
        assert await projection.generations() == {(await projection.control()).live}
    finally:
        await projection.close()


Stage = Callable[[Control], bool]


def fills_its_generation(control: Control) -> bool:
    return control.rebuilding is not None and not control.handing_over


def hands_over(control: Control) -> bool:
    return control.handing_over


async def killed_when(stage: Stage, projection: CassandraProjection, scene: Scene) -> bool:
    """False if it was at its end before anybody saw it at that stage."""
    rebuilding = await asyncio.create_subprocess_exec(
        *scene.command("projection", "rebuild", "--json"),
        cwd=ROOT,
        env=scene.environment,
        stdout=asyncio.subprocess.DEVNULL,
    )
    while rebuilding.returncode is None:
        if stage(await projection.control()):
            rebuilding.kill()
            return await rebuilding.wait() == -signal.SIGKILL
    assert rebuilding.returncode == 0
    return False
