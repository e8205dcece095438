"""While Redis is away callers hear so in time; when it is back the store works on, and no unit came or went."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

from deploy.local.processes import Process
from sluice.errors import StoreUnreachable
from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Refused, Row
from stockd.stores.redis import REQUEST_TIMEOUT_S, RedisStore
from stockd.stores.redis_session import MAX_IN_FLIGHT, RedisSession
from tests.integration.store_outage import Taker, loop_never_blocked, recovered, rows_are_exact, unreachable_in_time
from tests.servers import make_redis, running, server_directory

pytestmark = pytest.mark.servers


class Server(NamedTuple):
    process: Process
    url: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_directory() as directory:
        process, url = make_redis(directory, "always")
        with running(process):
            yield Server(process, url)


@pytest.fixture
async def store(server: Server) -> AsyncIterator[RedisStore]:
    store = await RedisStore.open(server.url, "outage")
    yield store
    await store.close()


@pytest.fixture
async def sku(store: RedisStore) -> str:
    sku = f"sku-{uuid4()}"
    await store.create_sku(sku, StockPolicy.EXACT)
    assert await store.restock(sku, uuid4(), 100_000) == Applied()
    return sku


@pytest.fixture
async def operator(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url, decode_responses=True) as client:
        yield client


async def test_a_killed_server_is_told_in_time_and_its_return_needs_nobody(
    server: Server, store: RedisStore, sku: str
) -> None:
    incarnation = uuid4()
    assert await store.take(sku, incarnation, None, 7) == Applied()
    before = await store.read(sku, Consistency.STRONG)
    server.process.kill()
    try:
        async with loop_never_blocked():
            for _ in range(3):  # first with connections that broke, then without any
                await asyncio.gather(
                    *(
                        unreachable_in_time(lambda: store.take(sku, incarnation, Row(7, 1), 1))
                        for _ in range(MAX_IN_FLIGHT + 20)
                    ),
                    unreachable_in_time(lambda: store.read(sku, Consistency.STRONG)),
                    unreachable_in_time(store.ping),
                )
        told = await unreachable_in_time(lambda: store.take(sku, incarnation, Row(7, 1), 1))
        assert not told.outcome_unknown  # there is no connection that it could have been sent on
    finally:
        await asyncio.to_thread(server.process.start)
    await recovered(store)
    assert await store.read(sku, Consistency.STRONG) == before
    # The new server does not know the scripts: this one is sent whole.
    assert await store.take(sku, incarnation, Row(7, 1), 1) == Applied()


async def test_takes_in_flight_when_the_server_is_killed_are_exact_after_sending_them_again(
    server: Server, store: RedisStore, sku: str
) -> None:
    takers = [Taker(store, sku) for _ in range(12)]
    async with asyncio.TaskGroup() as tasks:
        for taker in takers:
            tasks.create_task(taker.run())
        for _ in range(3):
            await asyncio.sleep(0.3)  # in the middle of a burst, wherever that is
            await asyncio.to_thread(server.process.kill)
            await asyncio.to_thread(server.process.start)
            await recovered(store)
        for taker in takers:
            taker.stopping = True
    assert sum(taker.unknown for taker in takers) > 0
    await rows_are_exact(store, sku, takers)


async def test_a_frozen_server_is_told_in_time_and_takes_are_exact_when_it_goes_on(
    server: Server, store: RedisStore, sku: str
) -> None:
    takers = [Taker(store, sku) for _ in range(12)]
    async with loop_never_blocked(), asyncio.TaskGroup() as tasks:
        for taker in takers:
            tasks.create_task(taker.run())
        for frozen_s in (0.5, 4.0):  # shorter than a request may take, and longer
            await asyncio.sleep(0.3)
            server.process.stop()
            try:
                await asyncio.sleep(frozen_s)
            finally:
                server.process.cont()
            await recovered(store)
        for taker in takers:
            taker.stopping = True
    assert sum(taker.unknown for taker in takers) > 0
    await rows_are_exact(store, sku, takers)


async def test_calls_beyond_the_limit_are_told_that_they_were_not_sent(
    server: Server, store: RedisStore, sku: str
) -> None:
    server.process.stop()
    try:
        calls = [unreachable_in_time(lambda: store.take(sku, UUID(int=1), None, 1)) for _ in range(MAX_IN_FLIGHT + 30)]
        told = await asyncio.gather(*calls)
    finally:
        server.process.cont()
    assert sum(not error.outcome_unknown for error in told) == 30
    await recovered(store)


async def test_the_outcome_of_a_read_is_never_unknown(server: Server, store: RedisStore, sku: str) -> None:
    server.process.stop()
    try:
        told = await asyncio.gather(
            unreachable_in_time(lambda: store.read(sku, Consistency.STRONG)),
            unreachable_in_time(lambda: store.list_skus(None, 10)),
            unreachable_in_time(lambda: store.skus_noted(UUID(int=1))),
        )
    finally:
        server.process.cont()
    assert not any(error.outcome_unknown for error in told)
    await recovered(store)


async def test_callers_who_leave_keep_no_places_and_leave_no_answers_to_others(
    server: Server, store: RedisStore, sku: str
) -> None:
    server.process.stop()
    try:
        leaving = [asyncio.create_task(store.skus_noted(UUID(int=2))) for _ in range(MAX_IN_FLIGHT)]
        await asyncio.sleep(0.1)
        for task in leaving:
            task.cancel()
        await asyncio.wait(leaving)
        assert all(task.cancelled() for task in leaving)
    finally:
        server.process.cont()
    await recovered(store)
    # As many at once as there are places: all find one, and each gets its own answer.
    ledgers = await asyncio.gather(*(store.read(sku, Consistency.QUORUM) for _ in range(MAX_IN_FLIGHT)))
    assert {ledger.sku for ledger in ledgers if ledger is not None} == {sku}
    assert None not in ledgers


async def test_answers_behind_an_error_are_nobody_elses(server: Server) -> None:
    session = RedisSession(server.url, REQUEST_TIMEOUT_S)
    with pytest.raises(ResponseError):
        await session.read_all([("NO-SUCH-COMMAND",), ("BLPOP", "nothing-is-here", "0.2")])
    assert await session.read("ECHO", "mine") == "mine"
    await session.close()


async def test_scripts_that_the_server_forgot_are_sent_whole(store: RedisStore, sku: str, operator: Redis) -> None:
    incarnation = uuid4()
    assert await store.take(sku, incarnation, None, 1) == Applied()
    await operator.script_flush()
    assert await store.take(sku, incarnation, None, 1) == Refused(99_999, Row(1, 1))
    await operator.script_flush()
    assert await store.create_sku(sku, StockPolicy.ESCROW) is StockPolicy.EXACT


async def test_connections_that_the_server_closed_are_made_anew(store: RedisStore, sku: str, operator: Redis) -> None:
    await store.ping()
    await operator.client_kill_filter(_type="normal", skipme=True)
    assert await store.take(sku, uuid4(), None, 1) == Applied()


@pytest.mark.parametrize(
    ("setting", "value", "usual"),
    [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")],
)
async def test_what_the_server_declines_did_not_happen(
    store: RedisStore, sku: str, operator: Redis, setting: str, value: str, usual: str
) -> None:
    before = await store.read(sku, Consistency.STRONG)
    await operator.config_set(setting, value)
    try:
        for call in (
            lambda: store.take(sku, UUID(int=4), None, 1),
            lambda: store.restock(sku, uuid4(), 1),
        ):
            told = await unreachable_in_time(call)
            assert not told.outcome_unknown
        assert await store.read(sku, Consistency.STRONG) == before
    finally:
        await operator.config_set(setting, usual)
    assert await store.take(sku, UUID(int=4), None, 1) == Applied()


async def test_a_replica_is_no_store(server: Server, store: RedisStore, sku: str, tmp_path: Path) -> None:
    process, url = make_redis(tmp_path)
    with running(process):
        replica = await RedisStore.open(url, "outage")
        async with Redis.from_url(url, decode_responses=True) as client:
            host, port = server.url.removeprefix("redis://").removesuffix("/0").split(":")
            await client.replicaof(host, port)
            told = await unreachable_in_time(replica.ping)
            assert not told.outcome_unknown
            told = await unreachable_in_time(lambda: replica.take(sku, UUID(int=5), None, 1))
            assert not told.outcome_unknown
        await replica.close()


async def test_a_sum_that_no_longer_fits_is_an_error_and_changes_nothing(store: RedisStore, sku: str) -> None:
    before = await store.read(sku, Consistency.STRONG)
    with pytest.raises(ResponseError, match="overflow"):
        await store.restock(sku, uuid4(), 2**63 - 1)
    assert await store.read(sku, Consistency.STRONG) == before


async def test_a_store_opened_before_its_server_waits_for_it(server: Server) -> None:
    server.process.kill()
    opening = asyncio.create_task(RedisStore.open(server.url, "early"))
    await asyncio.to_thread(server.process.start)
    store = await opening
    await store.ping()
    await store.close()


async def test_opening_gives_up_at_its_limit(tmp_path: Path) -> None:
    _, nobody = make_redis(tmp_path)
    async with asyncio.timeout(5):
        with pytest.raises(StoreUnreachable):
            await RedisStore.open(nobody, "nobody", open_limit_s=1.0)


async def test_a_wrong_password_is_said_at_once(server: Server, operator: Redis) -> None:
    await operator.acl_setuser("seller", enabled=True, passwords=["+right"], keys=["*"], commands=["+@all"])
    address = server.url.removeprefix("redis://")
    store = await RedisStore.open(f"redis://seller:right@{address}", "secret")
    await store.close()
    async with asyncio.timeout(2):
        with pytest.raises(AuthenticationError) as caught:
            await RedisStore.open(f"redis://seller:hush@{address}", "secret")
    assert "hush" not in str(caught.value)


async def test_a_name_without_a_sku_is_in_no_list_and_is_created_when_sent_again(
    store: RedisStore, operator: Redis
) -> None:
    """What is left when the server goes away between the two writes of a creation."""
    skus = [f"~{uuid4()}" for _ in range(7)]
    prefix = f"half-{uuid4()}"
    half = RedisStore(store._session, prefix)
    await operator.zadd(f"{prefix}:skus", dict.fromkeys(skus, 0))
    for sku in skus[::3]:
        await half.create_sku(sku, StockPolicy.EXACT)
    found: list[str] = []
    page = await half.list_skus(None, 1)
    while True:
        found += [summary.sku for summary in page.skus]
        if page.next_after is None:
            break
        page = await half.list_skus(page.next_after, 1)
    assert found == sorted(skus[::3])
    assert await half.read(skus[1], Consistency.STRONG) is None
    assert await half.create_sku(skus[1], StockPolicy.ESCROW) is None


async def test_a_closed_store_says_that_nothing_was_sent(server: Server) -> None:
    store = await RedisStore.open(server.url, "outage")
    await store.close()
    for _ in range(MAX_IN_FLIGHT + 1):  # more than there are places: each is free again
        told = await unreachable_in_time(lambda: store.take("any", UUID(int=3), None, 1))
        assert not told.outcome_unknown
