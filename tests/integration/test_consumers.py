"""Consumers on a real broker, in processes that come, go and die: every event is handled, a key's events in order."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.processes import Process
from sluice.seams.event_log import Event
from tests.integration.consumer_scene import Scene, until
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

AWAY_S = float(os.environ.get("SLUICE_TEST_AWAY_S", "5"))
"""How long a sink is away. With 30 the whole file takes a minute longer and shows nothing else."""


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[Process, str]]:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield process, bootstrap


@pytest.fixture
def scene(broker: tuple[Process, str], tmp_path: Path) -> Iterator[Scene]:
    made = Scene(broker[1], tmp_path)
    yield made
    made.stop()


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
