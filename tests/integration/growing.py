"""A journal with a relay, a topic that grows, and members of a group that note what they handle."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from commands.partitions import PAUSE_S, Parts, grow_topic
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
from sluice.kafka_topics import partition_counts
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_STOCK_CHANGED, LoggedEvent
from tests.journals import new_postgres_database

ROOT = Path(__file__).parents[2]
SKUS = [f"sku-{i}" for i in range(60)]


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

    async def set_back(self) -> None:
        """The group, to the beginning, as an operator does when nobody of it is there."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        count = (await partition_counts(self.bootstrap, [TOPIC_STOCK_CHANGED]))[TOPIC_STOCK_CHANGED]
        begin = [TopicPartition(TOPIC_STOCK_CHANGED, each, 0) for each in range(count)]
        asked = [ConsumerGroupTopicPartitions(self.group, begin)]
        await asyncio.to_thread(admin.alter_consumer_group_offsets(asked)[self.group].result, 20)

    async def grow(self, partitions: int, without: Sequence[str] = ()) -> None:
        await grow_topic(Parts(self.slot_maps, self.bootstrap), TOPIC_STOCK_CHANGED, partitions, PAUSE_S, without)

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """A command of which the caller reads what it says, on stderr."""
        command = [sys.executable, "-m", "commands.main", "partitions", *arguments]
        where = ["--journal-url", self.url, "--kafka", self.bootstrap]
        return await asyncio.create_subprocess_exec(*command, *where, cwd=ROOT, stderr=asyncio.subprocess.PIPE)

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


@asynccontextmanager
async def placed(bootstrap: str, postgres_url: str) -> AsyncIterator[Place]:
    """With a relay; the group is gone after it."""
    async with new_postgres_database(postgres_url) as url, relaying(url, bootstrap) as (journal, slot_maps):
        place = Place(url, bootstrap, journal, slot_maps)
        yield place
        # Moves of the next test would wait for it.
        admin = AdminClient({"bootstrap.servers": bootstrap})
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


async def until_relayed(place: Place) -> None:
    async with asyncio.timeout(60):
        while (await place.journal.backlog()).rows:  # noqa: ASYNC110 - the relay's work
            await asyncio.sleep(0.05)


def assert_in_order(handled: list[tuple[str, int, int]], wanted: dict[str, list[tuple[int, int]]]) -> None:
    """What a sink holds that remembers each key's last position: an event may come again, never before its turn."""
    at = dict.fromkeys(wanted, 0)
    for key, number, place in handled:
        index = wanted[key].index((number, place))
        assert index <= at[key], f"{key} {number}/{place} was handled before its predecessor"
        at[key] = max(at[key], index + 1)
