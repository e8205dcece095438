"""A peer is worth being measured against only if it is right: it never sells more than there is, however many ask at
once, and it sells all of it. Peers that are known to oversell must say so.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from bench.peers.known import PEERS
from bench.peers.servers import redis_with_synced_log, redis_without_log, tigerbeetle
from bench.peers.serving import open_known
from bench.settings import find
from sluice.client.order_ids import new_order_id
from tests.servers import server_directory

UNITS = 300
ORDERS = 1_000
SKU = "mug"

pytestmark = pytest.mark.servers


@pytest.fixture
def directory() -> Iterator[Path]:
    with server_directory() as made:
        yield made


@pytest.fixture
def address(request: pytest.FixtureRequest, directory: Path) -> Iterator[str]:
    """Of the server that the peer needs."""
    server = PEERS[request.param].server
    if server in ("redis", "redis_aof", "tigerbeetle"):
        program = find("tigerbeetle" if server == "tigerbeetle" else "redis")
        if program.path is None:
            pytest.skip(program.missing)
        starts = {"redis": redis_without_log, "redis_aof": redis_with_synced_log, "tigerbeetle": tigerbeetle}
        with starts[server](directory, program.path) as running:
            yield running.address
    else:
        fixtures = {"postgres": "postgres_url", "cassandra": "cassandra_contact_points", "kafka": "kafka_bootstrap"}
        yield request.getfixturevalue(fixtures[server])


EXACT = [name for name, peer in PEERS.items() if not peer.oversells]
KNOWS_ITS_ORDERS = [name for name in EXACT if name != "lwt_per_order"]


@pytest.mark.parametrize(("name", "address"), [(name, name) for name in EXACT], indirect=["address"])
async def test_a_thousand_orders_at_once_get_exactly_the_units_there_are(name: str, address: str) -> None:
    peer = await open_known(name, address)
    sku = f"{SKU}-{new_order_id()}"
    await peer.add_stock(sku, UNITS)
    answers = await asyncio.gather(*(peer.reserve(UUID(new_order_id()), sku, 1) for _ in range(ORDERS)))
    assert sum(answers) == UNITS
    assert not await peer.reserve(UUID(new_order_id()), sku, 1)
    await peer.close()


@pytest.mark.parametrize(("name", "address"), [(name, name) for name in KNOWS_ITS_ORDERS], indirect=["address"])
async def test_the_same_order_twice_is_sold_once(name: str, address: str) -> None:
    peer = await open_known(name, address)
    sku = f"{SKU}-{new_order_id()}"
    await peer.add_stock(sku, 3)
    first = UUID(new_order_id())
    assert [await peer.reserve(first, sku, 2) for _ in range(2)] == [True, True]
    assert not await peer.reserve(UUID(new_order_id()), sku, 2)
    assert await peer.reserve(UUID(new_order_id()), sku, 1)
    await peer.close()


@pytest.mark.parametrize(
    ("name", "address"), [(name, name) for name, peer in PEERS.items() if peer.oversells], indirect=["address"]
)
async def test_what_oversells_says_yes_to_no_fewer_than_there_are(name: str, address: str) -> None:
    peer = await open_known(name, address)
    sku = f"{SKU}-{new_order_id()}"
    await peer.add_stock(sku, UNITS)
    answers = await asyncio.gather(*(peer.reserve(UUID(new_order_id()), sku, 1) for _ in range(ORDERS)))
    assert sum(answers) >= UNITS
    await peer.close()
