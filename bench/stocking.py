"""SKUs with units to sell, and an empty database for the bare journal."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import asyncpg

from bench.orders import UNITS
from deploy.local.services import KEYSPACE
from sluice._gen.stock.v1 import stock_pb2
from sluice.model import StockPolicy
from sluice.rpc.channel import open_channel
from stockd.stores.cassandra import CassandraStore

CREATE_TIMEOUT_S = 30.0
CREATED_AT_ONCE = 32
WRITTEN_AT_ONCE = 512
"""Those of one partition travel together."""

LOCAL_DC = "datacenter1"

BENCH_DATABASE = "bench_journal"
"""Beside the cluster's own: rows of the bare journal loop and of peers are nobody's orders; no relay publishes them."""


def create_skus(endpoint: str, skus: Sequence[str], policy: str = "ESCROW", units: int = UNITS) -> None:
    """As an operator creates them."""
    asyncio.run(_create_skus(endpoint, skus, f"STOCK_POLICY_{policy}", units))


async def _create_skus(endpoint: str, skus: Sequence[str], policy: str, units: int) -> None:
    waiting = iter(skus)
    async with open_channel(endpoint) as channel:
        create: Any = channel.unary_unary(
            "/sluice.stock.v1.StockService/CreateSku",
            request_serializer=stock_pb2.CreateSkuRequest.SerializeToString,
            response_deserializer=stock_pb2.CreateSkuResponse.FromString,
        )

        async def create_some() -> None:
            for sku in waiting:  # shared: each is taken once
                await create(stock_pb2.CreateSkuRequest(sku=sku, units=units, policy=policy), timeout=CREATE_TIMEOUT_S)

        await asyncio.gather(*(create_some() for _ in range(CREATED_AT_ONCE)))


def write_skus(contact_points: str, skus: Sequence[str]) -> None:
    """Very many, written as a gateway writes them, without a call for each."""
    asyncio.run(_write_skus(contact_points, iter(skus)))


async def _write_skus(contact_points: str, skus: Iterator[str]) -> None:
    store = await CassandraStore.open_standing(contact_points, KEYSPACE, LOCAL_DC)

    async def write_some() -> None:
        for sku in skus:
            await store.create_sku(sku, StockPolicy.ESCROW)
            await store.restock(sku, uuid4(), UNITS)

    await asyncio.gather(*(write_some() for _ in range(WRITTEN_AT_ONCE)))
    await store.close()


def make_bench_database(cluster_url: str, name: str = BENCH_DATABASE) -> str:
    """An empty database on the same server; returns its URL."""

    async def make() -> None:
        connection = await asyncpg.connect(cluster_url)
        try:
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()

    asyncio.run(make())
    return cluster_url.rsplit("/", maxsplit=1)[0] + f"/{name}"


def make_journals(cluster_url: str, journals: int) -> str:
    """So many empty databases on the same server, as the setting `journal_url` takes them."""
    names = [f"{BENCH_DATABASE}_{number}_of_{journals}" for number in range(journals)]
    return ",".join(make_bench_database(cluster_url, name) for name in names)
