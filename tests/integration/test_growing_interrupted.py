"""`sluice partitions grow` killed at each of its steps, then aborted or resumed: no event is lost or out of order,
events go on, and so does the same command.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from relay.slot_moves import STEPS
from sluice.seams.event_log import TOPIC_STOCK_CHANGED
from sluice.slot_map import first_seats
from tests.integration.growing import Member, Place, assert_in_order, placed, until, until_mapped
from tests.servers import make_kafka, running, server_directory

pytestmark = pytest.mark.servers

COUNTS = (16, 32, 64, 128, 256, 512)
"""A move that got through before it could be killed uses one up."""


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


async def test_killed_at_any_step_it_can_be_aborted_until_the_switch_and_resumed(place: Place) -> None:
    await until_mapped(place)
    member = Member(place)
    selling = asyncio.create_task(place.sell())
    await until(lambda: len(place.handled) > 0, "the first event is handled")
    counts = iter(COUNTS)

    for step in ("partitions", "rehearsal", "drain", "groups"):
        before = (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED]
        while not await killed_at(step, place, partitions := next(counts)):
            before = (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED]
        aborted = await place.run("abort", TOPIC_STOCK_CHANGED)
        # It dies before it has noted its plan, or after.
        assert aborted.returncode == 0 or "no move is under way" in aborted.stderr
        assert (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED] == before
        assert await place.slot_maps.planned() == {}
        await until_events_flow(place)

        if await killed_at(step, place, partitions):
            await until_events_flow(place)
            assert (await place.run("grow", TOPIC_STOCK_CHANGED, str(partitions))).returncode == 0
        assert (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED].seats == first_seats(partitions)

    partitions = next(counts)
    assert await killed_at("switch", place, partitions)
    await until_events_flow(place)
    assert (await place.run("grow", TOPIC_STOCK_CHANGED, str(partitions))).returncode == 0
    assert (await place.slot_maps.in_force())[TOPIC_STOCK_CHANGED].seats == first_seats(partitions)

    place.enough.set()
    await selling
    await until(lambda: len(set(place.handled)) == place.written, "every event is handled")
    assert_in_order(place.handled, await place.logged())
    await member.leave()


async def killed_at(step: str, place: Place, partitions: int) -> bool:
    """False if it came to its end without a word of that step."""
    growing = await place.begin("grow", TOPIC_STOCK_CHANGED, str(partitions))
    assert growing.stderr is not None
    async for line in growing.stderr:
        if STEPS[step] in line.decode():
            growing.send_signal(signal.SIGKILL)
            break
    return await growing.wait() == -signal.SIGKILL


async def until_events_flow(place: Place) -> None:
    """A pause that was left behind ends by itself."""
    handled = len(set(place.handled))
    await until(lambda: len(set(place.handled)) > handled + 400, "events flow", limit_s=20.0)
