"""Three Kafka brokers on one machine: one may be killed at any moment, and the events of orders go on."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, ConfigSource, ResourceType, TopicMetadata
from confluent_kafka.cimpl import NewTopic
from structlog.testing import capture_logs

from deploy.local import cluster
from deploy.local.cluster import Cluster
from deploy.local.layout import ClusterSpec
from relay.few_copies import tell_of_few_copies
from relay.kafka_log import KafkaLog
from sluice.kafka_topics import LEAST_IN_SYNC, RELAY_TOPICS, open_admin
from sluice.seams.event_log import TOPIC_ORDER_CREATED
from tests.integration.buying import ACCEPTED, Client, ask, connected, create_skus, order
from tests.servers import server_directory

pytestmark = [pytest.mark.servers, pytest.mark.timeout(420)]

ARRIVAL_LIMIT_S = 60.0
BROKERS_HEAR_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with server_directory() as directory:
        spec = ClusterSpec(directory / "cluster", brokers=3, stockds=1)
        try:
            yield cluster.up(spec)
        finally:
            cluster.down(spec.directory, purge=True)
            assert not spec.directory.exists()


async def placed(client: Client, sku: str) -> str:
    """The id of an order that was accepted."""
    reply = await ask(client.place_order, order({sku: 1}))
    assert reply.told == ACCEPTED
    return str(reply.request.order_id)


async def arrives(bootstrap: str, order_id: str) -> None:
    """Its event is on the log, before the time limit."""
    async with asyncio.timeout(ARRIVAL_LIMIT_S):
        async for logged in KafkaLog(bootstrap).read(TOPIC_ORDER_CREATED, follow=True):
            if logged.event.key == order_id:
                return


def known_topics(admin: AdminClient) -> Mapping[str, TopicMetadata]:
    """As a broker has them that has heard of all of the relay's: they are made at one, and the others hear later."""
    deadline = time.monotonic() + BROKERS_HEAR_WITHIN_S
    while True:
        topics: Mapping[str, TopicMetadata] = admin.list_topics(timeout=10).topics
        if topics.keys() >= set(RELAY_TOPICS) or time.monotonic() > deadline:
            return topics
        time.sleep(0.1)


def least_in_sync(admin: AdminClient, topic: str) -> ConfigEntry:
    """Of the topic's copies. The question goes to any broker, and not each has heard of the topic yet."""
    asked = ConfigResource(ResourceType.TOPIC, topic)
    deadline = time.monotonic() + BROKERS_HEAR_WITHIN_S
    while True:
        try:
            entry: ConfigEntry = admin.describe_configs([asked])[asked].result(10)[LEAST_IN_SYNC]
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return entry


def test_each_topic_has_three_copies_of_which_two_must_be_written(running: Cluster) -> None:
    admin = open_admin(running.endpoints.kafka)
    topics = known_topics(admin)
    for topic in RELAY_TOPICS:
        assert {len(partition.replicas) for partition in topics[topic].partitions.values()} == {3}
        # The topic's own: brokers whose default is one would have it so, too.
        in_sync = least_in_sync(admin, topic)
        assert (in_sync.value, in_sync.source) == ("2", ConfigSource.DYNAMIC_TOPIC_CONFIG.value)


async def test_topics_whose_events_can_be_lost_with_one_broker_are_told_of(running: Cluster) -> None:
    bootstrap, admin = running.endpoints.kafka, open_admin(running.endpoints.kafka)
    alone, careless, safe = (f"{word}-{uuid4().hex[:8]}" for word in ("alone", "careless", "safe"))
    made = admin.create_topics(
        [NewTopic(alone, 2, 1), NewTopic(careless, 2, 3, config={LEAST_IN_SYNC: "1"}), NewTopic(safe, 2, 3)]
    )
    for topic in made.values():
        topic.result(10)
    for topic in made:
        await asyncio.to_thread(least_in_sync, admin, topic)  # known to the brokers
    with capture_logs() as logged:
        await tell_of_few_copies(bootstrap, [alone, careless, safe])
        await tell_of_few_copies(bootstrap, [safe, *RELAY_TOPICS])
    assert [line["topics"] for line in logged] == [{alone: "has one copy", careless: f"{LEAST_IN_SYNC} is 1"}]


async def test_events_go_on_while_any_one_broker_is_dead_and_after_it_is_back(running: Cluster) -> None:
    bootstrap, sku = running.endpoints.kafka, f"teapot-{uuid4().hex[:8]}"
    async with connected(running.endpoints.gateways) as (client,):
        await create_skus(client, [sku], 1_000)
        ids = [await placed(client, sku)]
        await arrives(bootstrap, ids[0])
        for name in running.spec.names("kafka"):
            running.process(name).kill()
            ids.append(await placed(client, sku))
            await arrives(bootstrap, ids[-1])
            assert not running.status().running
            # `cluster up` repairs what is missing; it returns when all three see each other again.
            await asyncio.to_thread(cluster.up, running.spec)
            ids.append(await placed(client, sku))
            await arrives(bootstrap, ids[-1])
    on_log = [logged.event.key async for logged in KafkaLog(bootstrap).read(TOPIC_ORDER_CREATED, follow=False)]
    assert set(ids) <= set(on_log)


def test_data_of_three_brokers_is_not_started_with_one(running: Cluster) -> None:
    cluster.down(running.spec.directory)
    other = ClusterSpec(running.spec.directory, brokers=1, stockds=1)
    with pytest.raises(cluster.SpecChangedError, match=r"3 Kafka broker\(s\), not 1"):
        cluster.up(other)
    assert not cluster.status(running.spec.directory).processes
