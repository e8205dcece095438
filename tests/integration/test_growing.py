"""Topics grow under load on a real broker: consumers come and go, no key's events change places, and none is lost.

`tests/growing` does it with more of everything, in processes that are killed.
"""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from commands.partitions import Parts, abort_move
from relay.slot_moves import MoveAborted
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED
from sluice.slot_map import first_seats
from sluice.slot_plan import load_by_partition
from sluice.slots import slot_of
from tests.integration.growing import Member, Place, assert_in_order, placed, until, until_mapped
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield bootstrap


@pytest.fixture
async def place(broker: str, postgres_url: str) -> AsyncIterator[Place]:
    async with placed(broker, postgres_url) as place:
        yield place


async def test_a_topic_grows_from_8_to_16_to_32_under_load_and_every_key_keeps_its_order(place: Place) -> None:
    await until_mapped(place)
    first = Member(place)
    selling = asyncio.create_task(place.sell())
    await until(lambda: len(place.handled) > 0, "the first event is handled")

    second = Member(place)
    await place.grow(16)

    # Interrupted and resumed: whatever it was doing, the same again goes on.
    interrupted = asyncio.create_task(place.grow(32))
    await asyncio.sleep(1.0)
    interrupted.cancel()
    await asyncio.gather(interrupted, return_exceptions=True)
    growing = asyncio.create_task(place.grow(32))
    third = Member(place)
    await first.leave()
    await growing

    at_the_switch = place.written
    await until(lambda: place.written > at_the_switch + 400, "some are sold after the last switch")
    place.enough.set()
    await selling
    maps = await place.slot_maps.history(TOPIC_STOCK_CHANGED)
    assert [each.seats for each in maps] == [first_seats(8), first_seats(16), first_seats(32)]
    assert maps[2].first_number > maps[1].first_number > 0
    await until(lambda: len(set(place.handled)) == place.written, "every event is handled")
    wanted = await place.logged()
    assert sum(map(len, wanted.values())) == place.written
    assert_in_order(place.handled, wanted)
    await second.leave()
    await third.leave()


async def test_a_move_that_waits_for_a_group_can_be_aborted(place: Place) -> None:
    await until_mapped(place)
    selling = asyncio.create_task(place.sell())
    gone = Member(place)
    await until(lambda: len(place.handled) > 100, "the group has read something")
    await gone.leave()

    before = (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED]
    growing = asyncio.create_task(place.grow(64))
    async with asyncio.timeout(30):
        while not await place.slot_maps.planned():  # noqa: ASYNC110 - somebody else plans it
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    assert not growing.done()  # nobody reads on for that group
    await abort_move(Parts(place.slot_maps, place.bootstrap), TOPIC_STOCK_CHANGED)
    with pytest.raises(MoveAborted):
        await growing
    assert (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED] == before
    place.enough.set()
    await selling


async def test_hot_slots_leave_a_loaded_partition_and_every_key_keeps_its_order(place: Place) -> None:
    """Two thirds of the SKUs that are sold lie on one partition."""
    await until_mapped(place)
    seats = (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED].seats
    names = [f"article-{number}" for number in range(4_000)]
    crowded = [name for name in names if seats[slot_of(name)] == 3][:40]
    place.skus = crowded + [name for name in names if seats[slot_of(name)] != 3][:20]
    member = Member(place)
    selling = asyncio.create_task(place.sell())
    await until(lambda: place.written > 1_000, "enough is sold to be measured")

    assert_says(await place.run("balance", TOPIC_STOCK_CHANGED, "--yes"), 0, "slots have moved")
    moved = place.written
    await until(lambda: place.written > moved + 400, "some are sold after the switch")
    place.enough.set()
    await selling

    before, after = await place.slot_maps.history(TOPIC_STOCK_CHANGED)
    load = Counter(slot_of(sku) for sku in place.skus)
    fullest_before, fullest_after = (max(load_by_partition(each.seats, load)) for each in (before, after))
    assert fullest_before == 40
    assert fullest_after <= 20  # what other tests sold lately is on the topic too
    await until(lambda: len(set(place.handled)) == place.written, "every event is handled")
    assert_in_order(place.handled, await place.logged())
    await member.leave()


async def test_the_commands_say_what_there_is_and_what_they_did(place: Place) -> None:
    await until_mapped(place)
    assert_says(await place.run("grow", TOPIC_ORDER_CREATED, "16"), 0, "order-created: slots are on 16 partitions")
    assert_says(await place.run("show", TOPIC_ORDER_CREATED), 0, "16 partitions in Kafka, slots on 16 of them, epoch 1")
    assert_says(await place.run("abort", TOPIC_ORDER_CREATED), 1, "no move is under way")


def assert_says(done: subprocess.CompletedProcess[str], status: int, words: str) -> None:
    assert done.returncode == status, done.stderr
    assert words in " ".join((done.stdout + done.stderr).split())


def test_adding_partitions_under_the_default_partitioner_lets_keys_overtake_themselves(broker: str) -> None:
    """Why all this: two members of a group, one of them behind, and a topic grown as one grows it without slots."""
    topic = f"naive-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(topic, 8, 1)])[topic].result()
    keys = [f"key-{i}" for i in range(200)]
    write(broker, topic, keys, b"1")
    admin.create_partitions([NewPartitions(topic, 16)])[topic].result()
    write(broker, topic, keys, b"2")

    seen = read(broker, topic, range(8, 16))
    behind = read(broker, topic, range(8))
    moved = {key for key, value in seen}
    assert len(moved) > 50
    assert set(seen) == {(key, b"2") for key in moved}
    assert {(key, b"1") for key in moved} <= set(behind)


def write(bootstrap: str, topic: str, keys: list[str], value: bytes) -> None:
    """As a producer of its own that has just started: murmur2 modulo the partitions that there are."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 0})
    for key in keys:
        producer.produce(topic, value, key.encode())
    assert producer.flush(20) == 0


def read(bootstrap: str, topic: str, partitions: range) -> list[tuple[str, bytes]]:
    """All that one member of a group would see of its partitions, in the order in which it would."""
    reader = KafkaConsumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
    ends = [reader.get_watermark_offsets(TopicPartition(topic, each), timeout=10)[1] for each in partitions]
    reader.assign([TopicPartition(topic, each, 0) for each in partitions])
    found: list[tuple[str, bytes]] = []
    while len(found) < sum(ends):
        found += [((m.key() or b"").decode(), m.value() or b"") for m in reader.consume(500, 0.5)]
    reader.close()
    return found
