"""A Kafka that wants TLS and a login is reached by every client of it, and tells those who have none why not."""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from consumers.kafka_slot_maps import KafkaSlotMaps
from deploy.local.ports import free_port
from gateway.kafka_requests import KafkaRequests
from relay.kafka_log import KafkaLog
from relay.kafka_partitions import KafkaTopicPartitions
from sluice.errors import LogUnreachable
from sluice.kafka_topics import TOPIC_SLOT_MAPS, list_topics, make_request_topic, make_slot_map_topic
from sluice.model import Line, NewOrder, QueuePosition
from sluice.order_requests import OrderRequest
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED
from tests.certificates import HOST, Authority
from tests.integration.consumer_scene import PARTITIONS, Scene, until
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

LIMIT_S = 30.0
USER, PASSWORD = "sluice", "a secret, with = and spaces"


class Secured(NamedTuple):
    """`address` has the file that is needed; `bootstrap` is where it must not be without."""

    address: str
    bootstrap: str
    directory: Path

    def with_file(self, name: str, **changed: str) -> str:
        """The address with a file of other properties. Of those that are empty there is none."""
        named = {name.replace("_", "."): value for name, value in changed.items()}
        properties = self._properties() | named
        file = self.directory / name
        file.write_text("# of a test\n\n" + "\n".join(f"{key} = {value}" for key, value in properties.items() if value))
        return f"{self.bootstrap}?properties={file}"

    def _properties(self) -> dict[str, str]:
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.directory / "authority.pem"),
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
        }


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with server_directory() as directory:
        process, plain = make_kafka(directory)
        bootstrap = f"{HOST}:{free_port(taken=[int(plain.rpartition(':')[2])])}"
        store = Authority(directory, "authority").issue_store("kafka")
        _shut(directory / "kafka" / "server.properties", bootstrap, store)
        secured = Secured("", bootstrap, directory)
        with running(process):
            yield secured._replace(address=secured.with_file("kafka.properties"))


def _shut(config: Path, bootstrap: str, store: Path) -> None:
    """Gives the broker a second listener, for those who have a login; the first is for its own start."""
    lines = []
    for line in config.read_text().splitlines():
        name, _, value = line.partition("=")
        if name in ("listeners", "advertised.listeners"):
            value += f",SECURED://{bootstrap}"
        elif name == "listener.security.protocol.map":
            value += ",SECURED:SASL_SSL"
        lines.append(f"{name}={value}" if value else line)
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    lines += [
        "listener.name.secured.sasl.enabled.mechanisms=PLAIN",
        f"listener.name.secured.plain.sasl.jaas.config={login}",
        "listener.name.secured.ssl.keystore.type=PEM",
        f"listener.name.secured.ssl.keystore.location={store}",
    ]
    config.write_text("\n".join(lines) + "\n")


@pytest.fixture
def scene(secured: Secured, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(secured.address, tmp_path)
    yield made
    made.stop()


async def test_events_are_published_consumed_and_read(scene: Scene) -> None:
    await scene.write(scene.events(keys=8, per_key=5))
    scene.start()
    await scene.until_all_handled()
    assert len([each async for each in KafkaLog(scene.bootstrap).read(scene.topic, follow=False)]) == 40
    on_kafka = KafkaTopicPartitions(scene.bootstrap, scene.topic)
    async with asyncio.timeout(LIMIT_S):
        while await on_kafka.behind(await on_kafka.ends(range(PARTITIONS))):  # noqa: ASYNC110 - nobody tells of commits
            await asyncio.sleep(0.1)


async def test_dead_letters_are_kept_and_the_command_line_finds_them(scene: Scene) -> None:
    scene.file.with_suffix(".poison").write_text("key-1")
    await scene.write(scene.events(keys=2, per_key=1))
    scene.start()
    await until(lambda: "key-1" in scene.dlq("list", "--json"), "parked")


async def test_topics_are_made_and_looked_into(secured: Secured) -> None:
    await make_slot_map_topic(secured.address, replication_factor=1)
    await make_request_topic(secured.address, replication_factor=1)
    assert {TOPIC_SLOT_MAPS, TOPIC_ORDER_REQUESTED} <= (await list_topics(secured.address)).keys()
    assert KafkaSlotMaps(secured.address).read_on() == []
    assert await KafkaTopicPartitions(secured.address, TOPIC_SLOT_MAPS).count() == 1


async def test_orders_are_queued_and_found(secured: Secured) -> None:
    await make_request_topic(secured.address, replication_factor=1)
    order = NewOrder(str(uuid4()), "anna", (Line("mug", 1),))
    requests = KafkaRequests(secured.address)
    try:
        position = await _appended(requests, OrderRequest(order, datetime.now(UTC)))
        found = await requests.find(order.order_id, position)
        assert found is not None
        assert found.request.order == order
    finally:
        await requests.close()


async def _appended(requests: KafkaRequests, request: OrderRequest) -> QueuePosition:
    """Again until there is a leader for the new topic's partition, as a gateway's clients do."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(LogUnreachable):
                (position,) = await requests.append([request])
                return position


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sasl_password": "another"}, "Authentication failed"),
        ({"ssl_ca_location": ""}, "certificate verify failed"),
    ],
)
async def test_who_cannot_come_in_hears_why(secured: Secured, changed: dict[str, str], reason: str) -> None:
    with pytest.raises(LogUnreachable, match=reason):
        await list_topics(secured.with_file("other.properties", **changed))
