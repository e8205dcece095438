"""Compensation on real servers, run twice on purpose: exactly what is beyond the stock is cancelled, once.

Two members of the group and one of another group, which is what two machines are that know nothing of each other; one
of them is stopped in the middle, and the orders come while they all work.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from consumers.compensation import Compensation, compensate, excess_of
from consumers.runtime.consuming import consume_kafka
from consumers.runtime.handling import Consumer
from consumers.runtime.meters import Meters
from journal.events import encode_order_events
from journal.postgres import PostgresJournal
from journal.postgres_tallies import PostgresTallies
from journal.protocol import Batch, Committed, Spend
from journal.tallies import Victims
from orders.moving import move_orders
from relay.kafka_publisher import KafkaPublisher
from relay.meters import RelayMeters
from relay.relaying import relay
from sluice.kafka_topics import RELAY_TOPICS, make_topics
from sluice.model import Line, NewOrder, Order, OrderState, StockPolicy, units_by_sku
from sluice.seams.event_log import TOPIC_STOCK_CHANGED
from sluice.slot_map import first_maps
from stockd.stores.redis import RedisStore
from tests.integration.buying import until
from tests.journals import new_postgres_database
from tests.servers import make_kafka, running, server_directory
from tests.unit.compensation.parts import Meters as NoMeters
from tests.unit.compensation.parts import OneOwner

pytestmark = pytest.mark.servers

SKUS = {f"sku-{n}": 20 + n for n in range(8)}
"""Units of each; every one is asked for twice as often."""

PARTITIONS = 4


@pytest.fixture
def kafka() -> Iterator[str]:
    """A broker of this test's own: its topics have fixed names."""
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield bootstrap


def now() -> datetime:
    return datetime.now(UTC)


class Place:
    def __init__(self, url: str, journal: PostgresJournal, store: RedisStore, kafka: str) -> None:
        self.url = url
        self.journal = journal
        self.store = store
        self.kafka = kafka
        self.owner = OneOwner(uuid4())
        self.seq = 0
        self.ids: list[str] = []

    async def order(self, count: int) -> None:
        """Batches of carts over two SKUs."""
        for _ in range(count):
            lines = sorted({f"sku-{(len(self.ids) + offset) % len(SKUS)}": 1 for offset in (0, 3)}.items())
            orders = [NewOrder(str(uuid4()), "anna", tuple(Line(*line) for line in lines)) for _ in range(5)]
            self.seq += 1
            time = now()
            events, event_count = encode_order_events(orders, time)
            spends = [Spend(self.owner.incarnation, self.seq, units_by_sku(orders))]
            assert await self.journal.commit(Batch(orders, spends, events, event_count, time)) == Committed()
            self.ids += [order.order_id for order in orders]

    async def standing(self) -> dict[str, Order]:
        return dict(await self.journal.find_orders(self.ids))


@pytest.fixture
async def place(postgres_url: str, redis_url: str, kafka: str) -> AsyncIterator[Place]:
    async with new_postgres_database(postgres_url) as url:
        journal = await PostgresJournal.open(url, timeout_s=10)
        store = await RedisStore.open(redis_url, f"test{uuid4().hex[:8]}")
        made = Place(url, journal, store, kafka)
        await journal.register("stockd-0", made.owner.incarnation, now())
        for sku, units in SKUS.items():
            await store.create_sku(sku, StockPolicy.COUNTER)
            await store.restock(sku, uuid4(), units)
        counts = await make_topics(kafka, RELAY_TOPICS, partitions=PARTITIONS, replication_factor=1)

        async def open_publisher() -> KafkaPublisher:
            return KafkaPublisher(kafka, first_maps(counts))

        stopping = asyncio.Event()
        relaying = asyncio.create_task(
            relay(journal, open_publisher, RelayMeters(CollectorRegistry()), stopping, drain_limit_s=5)
        )
        yield made
        stopping.set()
        await relaying
        await store.close()
        await journal.close()


@asynccontextmanager
async def compensating(place: Place, group: str) -> AsyncIterator[None]:
    """A machine: connections, consumer and all of its own."""
    journal = await PostgresJournal.open(place.url, connections=1, timeout_s=10)
    tallies = PostgresTallies(place.url, timeout_s=10)
    owner = OneOwner(place.owner.incarnation)
    owner.seq = uuid4().int >> 66  # numbers of its own
    move = partial(move_orders, owners=owner, journal=journal, now=now)

    async def no_repair(_: str) -> None: ...

    consumer = Compensation(
        tallies,
        place.store,
        move,
        no_repair,
        NoMeters(),
        victims=Victims.NEWEST_FIRST,
        monotonic=asyncio.get_running_loop().time,
    )
    stopping = asyncio.Event()
    task = asyncio.create_task(
        consume_kafka(
            Consumer(group, [TOPIC_STOCK_CHANGED], consumer.handle),
            place.kafka,
            Meters(CollectorRegistry()),
            stopping,
            lanes=4,
            protocol="auto",
            replication_factor=1,
            drain_limit_s=5,
        )
    )
    try:
        yield
    finally:
        stopping.set()
        await task
        await tallies.close()
        await journal.close()


async def test_two_machines_cancel_exactly_what_is_beyond_the_stock(place: Place) -> None:
    tallies = PostgresTallies(place.url, timeout_s=10)
    async with compensating(place, "compensation"), compensating(place, "twice"):
        async with compensating(place, "compensation"):
            await place.order(40)
            await asyncio.sleep(1)
        await place.order(20)

        async def settled() -> bool:
            """Every event is in the tallies, and no more is sold than there is."""
            sold = await place.journal.sold(list(SKUS))
            live = {sku: (await tallies.live(sku, Victims.NEWEST_FIRST, 1)).units for sku in SKUS}
            return sold == live and all(sold[sku] <= units for sku, units in SKUS.items())

        await until("every event is tallied, and no more is sold than there is", settled, limit_s=60.0)
    standing = await place.standing()
    live = dict.fromkeys(SKUS, 0)
    for order in standing.values():
        if order.state is OrderState.CREATED:
            for line in order.lines:
                live[line.sku] += line.quantity
    assert await place.journal.sold(list(SKUS)) == live
    assert all(live[sku] <= units for sku, units in SKUS.items())
    ended = [order for order in standing.values() if order.state is OrderState.CANCELLED]
    assert ended
    assert all(order.reason == "OVERSOLD" and order.version == 2 for order in ended)
    await tallies.close()


async def test_a_single_sku_keeps_the_first_orders_of_the_log(place: Place) -> None:
    orders = [NewOrder(str(uuid4()), "anna", (Line("sku-0", 1),)) for _ in range(100)]
    tallies = PostgresTallies(place.url, timeout_s=10)
    async with compensating(place, "compensation"), compensating(place, "twice"):
        for start in range(0, 100, 10):
            batch = sorted(orders[start : start + 10])
            orders[start : start + 10] = batch
            time = now()
            place.seq += 1
            events, count = encode_order_events(batch, time)
            spends = [Spend(place.owner.incarnation, place.seq, units_by_sku(batch))]
            assert await place.journal.commit(Batch(batch, spends, events, count, time)) == Committed()
        async with asyncio.timeout(60):
            while (await place.journal.sold(["sku-0"]))["sku-0"] > SKUS["sku-0"]:
                await asyncio.sleep(0.1)
                # By hand, at the same time.
                move = partial(move_orders, owners=place.owner, journal=place.journal, now=now)
                await compensate("sku-0", tallies, place.store, Victims.NEWEST_FIRST, move)
    place.ids = [order.order_id for order in orders]
    standing = await place.standing()
    kept = [order_id for order_id in place.ids if standing[order_id].state is OrderState.CREATED]
    assert kept == place.ids[: SKUS["sku-0"]]
    found = await excess_of("sku-0", tallies, place.store, Victims.NEWEST_FIRST)
    assert found is not None
    assert not found.beyond
    await tallies.close()
