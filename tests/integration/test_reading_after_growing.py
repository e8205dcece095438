"""A group that begins to read when a topic has grown, or goes back: old and new places of a key stand side by side."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.growing import Member, Place, assert_in_order, placed, until, until_mapped, until_relayed
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

EVENTS_BETWEEN = 2_000


@pytest.fixture
def broker() -> Iterator[str]:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield bootstrap


@pytest.fixture
async def place(broker: str, postgres_url: str) -> AsyncIterator[Place]:
    async with placed(broker, postgres_url) as place:
        yield place


async def test_every_keys_events_are_handled_in_order(place: Place) -> None:
    await until_mapped(place)
    selling = asyncio.create_task(place.sell())
    for partitions in (16, 32):
        await until_more_are_sold(place)
        await place.grow(partitions)
    await until_more_are_sold(place)
    place.enough.set()
    await selling
    await until_relayed(place)
    wanted = await place.logged()
    assert sum(map(len, wanted.values())) == place.written

    for _ in ("begins to read", "goes back"):
        place.handled.clear()
        members = [Member(place), Member(place)]
        await until(lambda: len(set(place.handled)) == place.written, "every event is handled")
        assert_in_order(place.handled, wanted)
        for member in members:
            await member.leave()
        await place.set_back()


async def until_more_are_sold(place: Place) -> None:
    wanted = place.written + EVENTS_BETWEEN
    await until(lambda: place.written > wanted, f"{EVENTS_BETWEEN} more events")
