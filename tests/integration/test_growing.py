"""Topics grow under load on a real broker: consumers come and go, no key's events change places, and none is lost."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic
from prometheus_client import CollectorRegistry

from commands.partitions import PAUSE_S, Parts, abort_move, grow_topic
from consumers.runtime.consuming import consume_kafka
from consumers.runtime.handling import Consumer
from consumers.runtime.meters import Meters
from journal.events import encode_order_events
from journal.postgres import PostgresJournal
from journal.postgres_slot_maps import PostgresSlotMaps
from journal.protocol import Batch, Committed
from relay.kafka_log import KafkaLog
from relay.meters import RelayMeters
from relay.opening import open_publisher
from relay.relaying import relay
from relay.slot_moves import MoveAborted
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED, LoggedEvent
from sluice.slot_map import first_seats
from sluice.slot_plan import load_by_partition
from sluice.slots import slot_of
from tests.journals import new_postgres_database
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
SKUS = [f"sku-{i}" for i in range(60)]


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield bootstrap


class Member:
    """One process of the group, but for the process."""

    def __init__(self, place: "Place") -> None:
        self._stopping = asyncio.Event()
        consumer = Consumer(place.group, [TOPIC_STOCK_CHANGED], place.handle)
        self._task = asyncio.create_task(
            consume_kafka(
                consumer, place.bootstrap, Meters(CollectorRegistry()), self._stopping,
                lanes=8, protocol="consumer", replication_factor=1, drain_limit_s=10,
            )
        )  # fmt: skip

    async def leave(self) -> None:
        self._stopping.set()
        await self._task


class Place:
    """A journal with a relay, and members of one group that note what they handle."""

    def __init__(self, url: str, bootstrap: str, journal: PostgresJournal, slot_maps: PostgresSlotMaps) -> None:
        self.url = url
        self.bootstrap = bootstrap
        self.journal = journal
        self.slot_maps = slot_maps
        self.group = f"g{uuid4().hex[:10]}"
        self.skus = SKUS
        self.handled: list[tuple[str, int, int]] = []
        self.enough = asyncio.Event()
        self.written = 0

    async def handle(self, events: Sequence[LoggedEvent]) -> None:
        await asyncio.sleep(0.002)
        mine = [each.event for each in events if each.event.position.journal == self.journal.journal_id]
        self.handled += [(event.key, event.position.number, event.position.place) for event in mine]

    async def grow(self, partitions: int, without: Sequence[str] = ()) -> None:
        await grow_topic(Parts(self.slot_maps, self.bootstrap), TOPIC_STOCK_CHANGED, partitions, PAUSE_S, without)

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "commands.main", "partitions", *arguments]
        where = ["--journal-url", self.url, "--kafka", self.bootstrap]
        run = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
        return await asyncio.to_thread(run, [*command, *where])

    async def sell(self) -> None:
        """As gateways commit, until it is enough."""
        while not self.enough.is_set():
            pairs = [(self.skus[(self.written + i) % 60], self.skus[(self.written + i + 7) % 60]) for i in range(20)]
            lines = [[Line(sku, 1) for sku in pair] for pair in pairs]
            orders = [NewOrder(str(uuid4()), "anna", tuple(sorted(each))) for each in lines]
            now = datetime.now(UTC)
            events, count = encode_order_events(orders, now)
            assert await self.journal.commit(Batch(orders, [], events, count, now)) == Committed()
            self.written += 2 * len(orders)
            await asyncio.sleep(0.01)

    async def logged(self) -> dict[str, list[tuple[int, int]]]:
        """What there is to handle: by key, in the order of the positions."""
        positions: dict[str, set[tuple[int, int]]] = {}
        async for entry in KafkaLog(self.bootstrap).read(TOPIC_STOCK_CHANGED, follow=False):
            if entry.event.position.journal == self.journal.journal_id:
                positions.setdefault(entry.event.key, set()).add(entry.event.position[1:])
        return {key: sorted(found) for key, found in positions.items()}


@pytest.fixture
async def place(broker: str, postgres_url: str) -> AsyncIterator[Place]:
    async with new_postgres_database(postgres_url) as url, relaying(url, broker) as (journal, slot_maps):
        place = Place(url, broker, journal, slot_maps)
        yield place
        # Moves of the next test would wait for it.
        admin = AdminClient({"bootstrap.servers": broker})
        with suppress(KafkaException):  # never joined by anybody
            await asyncio.to_thread(admin.delete_consumer_groups([place.group])[place.group].result, 20)


@asynccontextmanager
async def relaying(url: str, bootstrap: str) -> AsyncIterator[tuple[PostgresJournal, PostgresSlotMaps]]:
    journal = await PostgresJournal.open(url, timeout_s=30)
    slot_maps = PostgresSlotMaps(url, timeout_s=30)
    opened = partial(open_publisher, bootstrap, slot_maps, partitions=8, replication_factor=1)
    stopping = asyncio.Event()
    task = asyncio.create_task(relay(journal, opened, RelayMeters(CollectorRegistry()), stopping, drain_limit_s=10))
    try:
        yield journal, slot_maps
    finally:
        stopping.set()
        await task
        await slot_maps.close()
        await journal.close()


async def until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not after {limit_s:g} s: {what}"
        await asyncio.sleep(0.05)


async def until_mapped(place: Place) -> None:
    async with asyncio.timeout(30):
        while TOPIC_STOCK_CHANGED not in await place.slot_maps.in_force():  # noqa: ASYNC110 - the relay's work
            await asyncio.sleep(0.05)


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


def assert_in_order(handled: list[tuple[str, int, int]], wanted: dict[str, list[tuple[int, int]]]) -> None:
    """What a sink holds that remembers each key's last position: an event may come again, never before its turn."""
    at = dict.fromkeys(wanted, 0)
    for key, number, place in handled:
        index = wanted[key].index((number, place))
        assert index <= at[key], f"{key} {number}/{place} was handled before its predecessor"
        at[key] = max(at[key], index + 1)


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
