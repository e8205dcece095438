"""GetStock is right at every level under load: while units are sold and added, and servers are killed."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import Client, ask, order, place_until_answered, quiet_stock
from tests.integration.cluster.conftest import audit_whole, kill_and_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SKUS = 6
FIRST_UNITS = 200
RESTOCK_UNITS = 30
BUYERS = 24
READERS = 6
LOAD_S = 4.0

LEVELS = (
    stock_pb2.CONSISTENCY_STRONG,
    stock_pb2.CONSISTENCY_QUORUM,
    stock_pb2.CONSISTENCY_LOCAL,
)
POLICIES = (stock_pb2.STOCK_POLICY_EXACT, stock_pb2.STOCK_POLICY_ESCROW)


class Books:
    """What this test knows of one SKU: what was certainly done before a moment, and what was perhaps begun by then."""

    def __init__(self) -> None:
        self.restocked_at_least = FIRST_UNITS
        self.restocked_at_most = FIRST_UNITS
        self.sold_at_least = 0
        self.sold_at_most = 0


class Sale:
    def __init__(self, clients: list[Client], skus: list[str]) -> None:
        self.clients = clients
        self.books = {sku: Books() for sku in skus}
        self.random = random.Random(5)
        self.over = asyncio.Event()
        self.reads = dict.fromkeys(LEVELS, 0)

    async def buy(self, number: int) -> None:
        while not self.over.is_set():
            sku = self.random.choice(list(self.books))
            units = self.random.randint(1, 3)
            self.books[sku].sold_at_most += units
            reply = await place_until_answered(self.clients, order({sku: units}), number)
            if reply.told == ACCEPTED:
                self.books[sku].sold_at_least += units
            else:
                self.books[sku].sold_at_most -= units

    async def restock(self) -> None:
        while not self.over.is_set():
            sku = self.random.choice(list(self.books))
            request = stock_pb2.RestockRequest(sku=sku, restock_id=str(uuid4()), units=RESTOCK_UNITS)
            self.books[sku].restocked_at_most += RESTOCK_UNITS
            while (await ask(self.random.choice(self.clients).restock, request)).told != ACCEPTED:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            self.books[sku].restocked_at_least += RESTOCK_UNITS
            await asyncio.sleep(0.05)

    async def read(self) -> None:
        while not self.over.is_set():
            sku = self.random.choice(list(self.books))
            level = self.random.choice(LEVELS)
            books = self.books[sku]
            restocked, sold = books.restocked_at_least, books.sold_at_least
            reply = await ask(
                self.random.choice(self.clients).get_stock, stock_pb2.GetStockRequest(sku=sku, consistency=level)
            )
            if reply.told != ACCEPTED:  # its gateway was killed, or what it needs is away
                await asyncio.sleep(0.05)
                continue
            self.reads[level] += 1
            stock = reply.response
            assert stock.available + stock.escrow + stock.sold == stock.restocked, stock
            assert stock.max_undersell >= stock.escrow
            assert stock.max_oversell == 0
            assert stock.sold <= stock.restocked
            # There is one replica of each: it is never behind.
            assert restocked <= stock.restocked <= books.restocked_at_most, stock
            # `sold_at_most` may have shrunk by refusals since the read, which never were sales.
            assert sold <= stock.sold, stock


@asynccontextmanager
async def sale(clients: list[Client], name: str) -> "AsyncIterator[Sale]":
    skus = [f"{name}-{number}" for number in range(SKUS)]
    for number, sku in enumerate(skus):
        policy = POLICIES[number % len(POLICIES)]
        owners = 1 + number % 3
        await clients[0].create_sku(
            stock_pb2.CreateSkuRequest(sku=sku, units=FIRST_UNITS, policy=policy, owners=owners)
        )
    running = Sale(clients, skus)
    work = [
        *(running.buy(number) for number in range(BUYERS)),
        *(running.read() for _ in range(READERS)),
        running.restock(),
    ]
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield running
    finally:
        running.over.set()
        await asyncio.gather(*tasks)


async def nothing() -> None:
    pass


@pytest.mark.parametrize("killed", [None, "stockd-1", "gateway-0", "cassandra-1"])
async def test_the_sums_are_right_at_every_level(
    running: Cluster, clients: list[Client], name: str, killed: str | None
) -> None:
    break_it: Callable[[], Awaitable[None]] = partial(kill_and_start, running, killed) if killed else nothing
    async with sale(clients, name) as going:
        await asyncio.sleep(LOAD_S / 2)
        await break_it()
        await asyncio.sleep(LOAD_S / 2)
    assert min(going.reads.values()) > 10, going.reads
    for sku, stock in (await quiet_stock(clients[0], list(going.books), limit_s=40.0)).items():
        books = going.books[sku]
        assert stock.restocked == books.restocked_at_least == books.restocked_at_most
        assert stock.sold == books.sold_at_least == books.sold_at_most, sku
    assert (await audit_whole(running)).findings == []
