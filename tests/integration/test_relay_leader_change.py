"""Three brokers, of which the one that leads is killed in the middle of a sale: a partition's leader changes under the
relay's hands, and every event is there, each key's in order.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from deploy.local import kafka, packages
from deploy.local.ports import free_port
from deploy.local.processes import Process
from journal.postgres import PostgresJournal
from journal.postgres_slot_maps import PostgresSlotMaps
from relay.meters import RelayMeters
from relay.opening import open_publisher
from relay.relaying import relay
from sluice.kafka_topics import open_admin
from sluice.seams.event_log import TOPIC_ORDER_CREATED
from tests.integration.test_relay import assert_all_there_in_order, commit, until, until_drained
from tests.journals import new_postgres_database
from tests.servers import server_directory

pytestmark = [pytest.mark.servers, pytest.mark.timeout(420)]

BROKERS = 3
PARTITIONS = 4


class Brokers:
    def __init__(self, processes: list[Process], bootstrap: str) -> None:
        self.processes = processes
        self.bootstrap = bootstrap

    def leader(self) -> Process | None:
        """Of the first partition of order-created. Brokers count from 1; -1: there is none now."""
        topic = open_admin(self.bootstrap).list_topics(timeout=10).topics[TOPIC_ORDER_CREATED]
        number = topic.partitions[0].leader
        return self.processes[number - 1] if number > 0 else None


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    with server_directory() as directory, ExitStack() as stack:
        ports: list[int] = []
        for _ in range(2 * BROKERS):
            ports.append(free_port(taken=ports))
        made = [kafka.Broker(f"kafka-{n}", *ports[2 * n : 2 * n + 2]) for n in range(BROKERS)]
        java = packages.require().java
        processes = [
            kafka.create(directory / each.name, made, n, java, directory / f"{each.name}.log")
            for n, each in enumerate(made)
        ]
        for process in processes:
            stack.callback(process.kill)
            process.launch()
        for process in processes:
            process.wait_until(process.answers)
        yield Brokers(processes, kafka.bootstrap(made))


@pytest.fixture
async def journal(postgres_url: str, brokers: Brokers) -> AsyncIterator[PostgresJournal]:
    """With a relay."""
    async with new_postgres_database(postgres_url) as url:
        journal = await PostgresJournal.open(url, timeout_s=30)
        slot_maps = PostgresSlotMaps(url, timeout_s=30)
        opened = partial(
            open_publisher, brokers.bootstrap, slot_maps, partitions=PARTITIONS, replication_factor=BROKERS
        )
        stopping = asyncio.Event()
        relaying = asyncio.create_task(
            relay(journal, opened, RelayMeters(CollectorRegistry()), stopping, drain_limit_s=10)
        )
        yield journal
        stopping.set()
        await relaying
        await slot_maps.close()
        await journal.close()


async def test_events_survive_leaders_that_are_killed_each_key_in_order(
    journal: PostgresJournal, brokers: Brokers
) -> None:
    ids = await commit(journal, 5)
    await until_drained(journal)
    enough = asyncio.Event()

    async def sell() -> None:
        while not enough.is_set():
            ids.extend(await commit(journal, 1))
            await asyncio.sleep(0.01)

    selling = asyncio.create_task(sell())
    for _ in range(2):
        leader = await asyncio.to_thread(brokers.leader)
        assert leader is not None
        await asyncio.to_thread(leader.kill)

        async def another_leads(dead: Process = leader) -> bool:
            return await asyncio.to_thread(brokers.leader) not in (dead, None)

        await until(another_leads)
        sold = len(ids)

        async def more_are_sold(sold: int = sold) -> bool:
            return len(ids) > sold + 200

        await until(more_are_sold)
        await asyncio.to_thread(leader.start)
    enough.set()
    await selling
    await until_drained(journal)
    await assert_all_there_in_order(brokers.bootstrap, journal, ids, repeats=True)
