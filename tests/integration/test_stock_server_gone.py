"""A stock server dies or hangs and nobody starts it again: its peers take back what it held, exactly.

On a cluster of its own, because the tests leave a server dead for a while.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from commands.burst import ACCEPTED
from deploy.local import cluster, processes
from deploy.local.cluster import Cluster
from deploy.local.layout import ClusterSpec, address
from gateway.keeper_rpc import RpcKeeper
from journal.postgres import PostgresJournal
from journal.protocol import Batch, CommitResult, IncarnationsFenced, Spend
from sluice.errors import KeeperUnreachable
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Verdict
from tests.integration.buying import (
    OUT_OF_STOCK,
    Client,
    connected,
    create_skus,
    order,
    place_all,
    stock_of,
    told,
    until,
)
from tests.integration.cluster.conftest import START_LIMIT_S, audit_whole
from tests.integration.scraping import scraped
from tests.servers import server_directory

pytestmark = [pytest.mark.servers, pytest.mark.timeout(START_LIMIT_S)]

PEER_DEAD_AFTER_S = 4.0
WHOLE_WITHIN_S = PEER_DEAD_AFTER_S + 8.0
"""Two looks of the watch, one of the reclaim, and the folding itself on a busy machine."""

UNITS = 40
STRANDED = 15
RESERVE_LIMIT_S = 10.0
EXACT = "STOCK_POLICY_EXACT"
"""What is stranded is then what these tests reserved, and nothing that was taken ahead."""


@pytest.fixture(scope="module")
def started() -> Iterator[Cluster]:
    with server_directory() as directory:
        spec = ClusterSpec(directory / "cluster", stockds=3, gateways=2, peer_dead_after_s=PEER_DEAD_AFTER_S)
        try:
            yield cluster.up(spec)
        finally:
            cluster.down(spec.directory, purge=True)


@pytest.fixture
async def clients(started: Cluster) -> AsyncIterator[list[Client]]:
    async with connected(started.endpoints.gateways, 4) as opened:
        yield opened


@pytest.fixture
async def journal(started: Cluster) -> AsyncIterator[PostgresJournal]:
    journal = await PostgresJournal.open(started.endpoints.postgres, timeout_s=10)
    yield journal
    await journal.close()


@pytest.fixture
async def keeper(started: Cluster, victim: str) -> AsyncIterator[RpcKeeper]:
    keeper = RpcKeeper(address(started._ports[victim]))
    yield keeper
    await keeper.close()


@pytest.fixture
def skus() -> list[str]:
    """So many that every server owns some."""
    name = uuid4().hex[:12]
    return [f"{name}-{number}" for number in range(6)]


@pytest.mark.parametrize("victim", ["stockd-1"])
async def test_what_a_killed_server_held_is_back_without_its_restart(
    started: Cluster, clients: list[Client], journal: PostgresJournal, keeper: RpcKeeper, victim: str, skus: list[str]
) -> None:
    await create_skus(clients[0], skus, UNITS, EXACT)
    sold_before = await sell(clients, skus, 5)
    reservations = [await reserve(keeper, sku, STRANDED) for sku in skus]
    started.process(victim).kill()
    try:
        for sku in skus:
            assert (await stock_of(clients[0], sku)).escrow == STRANDED
        await until("the ledger is whole again", lambda: whole(clients[0], skus), limit_s=WHOLE_WITHIN_S)
        assert not started.process(victim).alive
        assert await counted(started, "sluice_stockd_peers_fenced_total", except_of=victim) == 1
        assert await counted(started, "sluice_stockd_reclaimed_units_total", except_of=victim) == STRANDED * len(skus)
        for reservation, sku in zip(reservations, skus, strict=True):
            assert await commit_late(journal, reservation, sku) == IncarnationsFenced(
                frozenset({reservation.incarnation})
            )
        assert sold_before + await sell(clients, skus, UNITS) == UNITS * len(skus)
        assert (await audit_whole(started)).findings == []
    finally:
        started.process(victim).start()


@pytest.mark.parametrize("victim", ["stockd-2"])
async def test_a_frozen_server_is_taken_for_dead_and_can_sell_nothing_when_it_wakes(
    started: Cluster, clients: list[Client], journal: PostgresJournal, keeper: RpcKeeper, victim: str, skus: list[str]
) -> None:
    await create_skus(clients[0], skus, UNITS, EXACT)
    sold_before = await sell(clients, skus, 5)
    held_skus, other_skus = skus[:3], skus[3:]
    held = [await reserve(keeper, sku, STRANDED) for sku in held_skus]
    zombie = started.process(victim)
    assert zombie.identity is not None
    child = processes._children[zombie.identity.pid]
    zombie.stop()
    try:
        await until("the ledger is whole again", lambda: whole(clients[0], skus), limit_s=WHOLE_WITHIN_S)
        # Waits at the frozen server's door, and is the first thing that it sees when it wakes.
        waking = [asyncio.ensure_future(reserve(keeper, sku, 1)) for sku in other_skus]
        await asyncio.sleep(0.2)
        zombie.cont()
        granted = [found for found in await asyncio.gather(*waking, return_exceptions=True) if is_granted(found)]
        for reservation in [*held, *granted]:
            assert isinstance(reservation, Reservation)
            assert await commit_late(journal, reservation, skus[0]) == IncarnationsFenced(
                frozenset({held[0].incarnation})
            )
        assert await asyncio.to_thread(child.wait, 30) == 1
        assert "has fenced this incarnation" in started.log(victim).read_text()
        await until("what the zombie took is back", lambda: whole(clients[0], skus), limit_s=WHOLE_WITHIN_S)
    finally:
        zombie.cont()
        if not zombie.alive:
            zombie.start()
    assert sold_before + await sell(clients, skus, UNITS) == UNITS * len(skus)
    assert (await audit_whole(started)).findings == []


async def test_nobody_is_taken_for_dead_because_the_journal_was_away(
    started: Cluster, journal: PostgresJournal
) -> None:
    """Everybody's last beat is old when it comes back."""
    before = await journal.incarnations()
    postgres = started.process("postgres")
    await asyncio.to_thread(postgres.stop)
    try:
        await asyncio.sleep(2 * PEER_DEAD_AFTER_S)
    finally:
        await asyncio.to_thread(postgres.cont)

    async def all_beat() -> bool:
        return await journal.silent(PEER_DEAD_AFTER_S / 2) == []

    await until("every stock server beats again", all_beat, limit_s=10.0)
    await asyncio.sleep(PEER_DEAD_AFTER_S)
    assert await journal.incarnations() == before
    assert all(started.process(name).alive for name in started.spec.names("stockd"))


@pytest.mark.parametrize("victim", ["stockd-0"])
async def test_a_server_that_is_stopped_in_order_is_not_taken_for_dead(
    started: Cluster, journal: PostgresJournal, victim: str
) -> None:
    def running() -> set[str]:
        return {name for name in started.spec.names("stockd") if started.process(name).alive}

    assert running() == set(started.spec.names("stockd"))
    started.process(victim).terminate()
    try:
        assert {row.name for row in await journal.incarnations() if not row.fenced} == running()
    finally:
        started.process(victim).start()


async def reserve(keeper: RpcKeeper, sku: str, units: int) -> Reservation:
    reservation = await keeper.reserve(ReserveBatch([sku], [], [0], [units]), [], RESERVE_LIMIT_S)
    if list(reservation.verdicts) != [Verdict.GRANTED]:
        raise KeeperUnreachable(f"not granted: {list(reservation.verdicts)}")
    return reservation


def is_granted(found: Reservation | BaseException) -> bool:
    if isinstance(found, BaseException) and not isinstance(found, KeeperUnreachable):
        raise found
    return isinstance(found, Reservation)


async def commit_late(journal: PostgresJournal, reservation: Reservation, sku: str) -> CommitResult:
    """As a gateway would that got its grant and was slow."""
    spend = Spend(reservation.incarnation, reservation.seq, {sku: 1})
    return await journal.commit(Batch([], [spend], b"", 0, datetime.now(UTC)))


async def sell(clients: Sequence[Client], skus: Sequence[str], each: int) -> int:
    """So many orders for one unit of each SKU; the number of those accepted. The others were told OUT_OF_STOCK."""
    replies = await place_all(clients, [order({sku: 1}) for sku in skus for _ in range(each)])
    counts = told(replies)
    assert counts[ACCEPTED] + counts[OUT_OF_STOCK] == len(replies), counts
    return counts[ACCEPTED]


async def whole(client: Client, skus: Sequence[str]) -> bool:
    stocks = [await stock_of(client, sku) for sku in skus]
    return all(stock.available + stock.sold == stock.restocked for stock in stocks)


async def counted(started: Cluster, metric: str, *, except_of: str) -> int:
    """The sum over the stock servers that live."""
    total = 0.0
    for name in started.spec.names("stockd"):
        if name != except_of:
            total += (await scraped(started.metrics(name)))[metric]
    return int(total)
