"""What a Redis that is killed still knows, by `appendfsync` (docs/decisions/0012-redis-durability.md)."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from deploy.local.processes import Process
from deploy.local.redis import Appendfsync
from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Ledger, Row
from stockd.stores.redis import RedisStore
from tests.servers import make_redis, running, server_directory

pytestmark = pytest.mark.servers

SKU = "hot"
PREFIX = "durability"

POSTPONED_LIMIT_S = 3.0
"""With `everysec` Redis keeps answered writes to itself while an fsync runs, for two seconds by its own clock, which
counts whole seconds."""


class Server(NamedTuple):
    process: Process
    url: str
    data: Path


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    appendfsync: Appendfsync = request.param
    with server_directory() as directory:
        process, url = make_redis(directory, appendfsync)
        with running(process):
            yield Server(process, url, directory / "redis")


async def ledger_of(store: RedisStore) -> Ledger:
    ledger = await store.read(SKU, Consistency.STRONG)
    assert ledger is not None
    assert sum(ledger.restocks.values()) == ledger.available + sum(row.units for row in ledger.held.values())
    return ledger


async def write_for(store: RedisStore, seconds: float) -> list[tuple[float, Ledger]]:
    """Takes, gives back and folds; the ledger after each write and when it was answered."""
    loop = asyncio.get_running_loop()
    random = Random(12)
    await store.create_sku(SKU, StockPolicy.EXACT)
    await store.restock(SKU, uuid4(), 1_000_000)
    incarnations = [uuid4() for _ in range(3)]
    end = loop.time() + seconds
    seen = [(loop.time(), await ledger_of(store))]
    while loop.time() < end:
        incarnation = random.choice(incarnations)
        row: Row | None = seen[-1][1].held.get(incarnation)
        if row is None or row.units == 0 or random.random() < 0.6:
            outcome = await store.take(SKU, incarnation, row, random.randint(1, 9))
        elif random.random() < 0.5:
            outcome = await store.take(SKU, incarnation, row, -random.randint(1, row.units))
        else:
            outcome = await store.fold(SKU, incarnation, row, random.randint(0, row.units))
        assert outcome == Applied()
        answered = loop.time()
        seen.append((answered, await ledger_of(store)))
    return seen


@pytest.mark.parametrize("server", ["always"], indirect=True)
async def test_with_always_a_killed_server_knows_every_write_that_it_answered(server: Server) -> None:
    store = await RedisStore.open(server.url, PREFIX)
    seen = await write_for(store, 0.5)
    server.process.kill()
    await asyncio.to_thread(server.process.start)
    assert await ledger_of(store) == seen[-1][1]
    await store.close()


@pytest.mark.parametrize("server", ["everysec"], indirect=True)
async def test_with_everysec_a_killed_server_is_at_most_seconds_behind_and_between_two_writes(server: Server) -> None:
    """Usually nothing is missing, because the kernel has the log. A power cut is another thing: see the decision."""
    store = await RedisStore.open(server.url, PREFIX)
    loop = asyncio.get_running_loop()
    seen = await write_for(store, POSTPONED_LIMIT_S + 1)
    killed = loop.time()
    server.process.kill()
    await asyncio.to_thread(server.process.start)
    found = await ledger_of(store)
    ledgers = [ledger for _, ledger in seen]
    assert found in ledgers
    missing = seen[ledgers.index(found) + 1 :]
    assert all(answered > killed - POSTPONED_LIMIT_S for answered, _ in missing)
    await store.close()


@pytest.mark.parametrize("server", ["everysec"], indirect=True)
async def test_a_log_that_was_cut_off_leaves_whole_writes(server: Server, tmp_path: Path) -> None:
    """As a power cut may leave it: the end of the log never reached the disk."""
    store = await RedisStore.open(server.url, PREFIX)
    seen = await write_for(store, 0.3)
    ledgers = [None, *(ledger for _, ledger in seen)]
    server.process.terminate()
    whole = tmp_path / "whole"
    shutil.copytree(server.data, whole)
    (log,) = (whole / "appendonlydir").glob("*.incr.aof")
    content = log.read_bytes()
    last = content.rindex(b"MULTI")
    # Within the last script: before, between and after its two writes. And anywhere, but after the first restock.
    cuts = [last, content.index(b"HINCRBY", last), content.index(b"HSET", last), content.rindex(b"EXEC")]
    cuts += Random(7).sample(range(len(content) // 10, last), 3)
    found = []
    for cut in sorted(cuts):
        shutil.rmtree(server.data)
        shutil.copytree(whole, server.data)
        (server.data / "appendonlydir" / log.name).write_bytes(content[:cut])
        await asyncio.to_thread(server.process.start)
        ledger = await ledger_of(store)
        assert ledger in ledgers
        found.append(ledgers.index(ledger))
        server.process.kill()
    assert found == sorted(found)
    # None of the cuts left the last write, and the last four left exactly the others.
    assert found[-4:] == [len(ledgers) - 2] * 4
    assert found[0] < found[-1]
    await store.close()


@pytest.mark.parametrize("server", ["everysec"], indirect=True)
async def test_the_server_runs_as_it_was_asked_to(server: Server) -> None:
    async with Redis.from_url(server.url, decode_responses=True) as client:
        settings = await client.config_get("append*", "maxmemory-policy", "save", "bind")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "everysec"
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["save"] == ""
        assert settings["bind"] == "127.0.0.1"
