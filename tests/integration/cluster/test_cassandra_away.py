"""Cassandra frozen or killed: every buyer hears so within two seconds, and the sale goes on when it is back."""

import asyncio
import time
from collections.abc import Callable

import pytest

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from deploy.local.processes import Process
from sluice._gen.stock.v1 import stock_pb2
from stockd.appetite import AHEAD_S
from tests.integration.buying import (
    Client,
    accepted,
    ask,
    create_skus,
    place_until_answered,
    quiet_stock,
    units_of,
    until,
)
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.load import Load, check_told_to_come_back, steady_load
from tests.integration.scraping import standing

SKUS = 6
PLENTY = 100_000
WITHIN_S = 2.0
AWAY_S = 8.0
EMPTY_AFTER_S = AHEAD_S + WITHIN_S
"""Then what stock servers had taken ahead is sold."""

STILL_SOLD = 0.1
"""Share of orders. A server that was busy and then served many at once has taken more ahead than the load is."""

BACK_LIMIT_S = 20.0
"""After kill -9 the drivers must connect anew and the first writes of a cold node are slow."""


@pytest.mark.parametrize(
    ("take_away", "bring_back"),
    [
        pytest.param(Process.stop, Process.cont, id="frozen"),
        pytest.param(Process.kill, Process.start, id="killed"),
    ],
)
async def test_buyers_hear_within_two_seconds_and_the_sale_recovers(
    running: Cluster,
    clients: list[Client],
    name: str,
    take_away: Callable[[Process], None],
    bring_back: Callable[[Process], None],
) -> None:
    skus = [f"{name}-{number}" for number in range(SKUS)]
    await create_skus(clients[0], skus, PLENTY)
    cassandra = running.process("cassandra-1")

    async with steady_load(clients, skus) as load:
        await asyncio.sleep(1.0)
        away = time.monotonic()
        await asyncio.to_thread(take_away, cassandra)
        await until("no gateway says that it serves", lambda: _nobody_serves(clients[:2]), limit_s=6.0)
        http = running.metrics("gateway-0").removesuffix("/metrics")
        assert await standing(f"{http}/readyz") == "not ready: stock store away"
        assert await standing(f"{http}/livez") == "alive"
        asked = await asyncio.gather(
            ask(clients[0].get_stock, stock_pb2.GetStockRequest(sku=skus[0])),
            ask(clients[0].create_sku, stock_pb2.CreateSkuRequest(sku=f"{name}-new", units=1)),
            ask(clients[0].list_skus, stock_pb2.ListSkusRequest()),
        )
        await asyncio.sleep(away + AWAY_S - time.monotonic())
        back = time.monotonic()
        await asyncio.to_thread(bring_back, cassandra)
        await until("both gateways say that they serve", lambda: _all_serve(clients[:2]), limit_s=BACK_LIMIT_S)
        await until("for a second nobody is refused", lambda: _all_buy(load), limit_s=BACK_LIMIT_S)

    replies = load.since(0)
    refused = [reply for reply in replies if reply.told != ACCEPTED]
    check_told_to_come_back([*refused, *asked], "STOCK_UNREACHABLE", WITHIN_S)
    while_away = load.since(away + EMPTY_AFTER_S, back - WITHIN_S)
    assert len(accepted(while_away)) <= STILL_SOLD * len(while_away)

    again = await asyncio.gather(
        *(place_until_answered(clients, reply.request, number) for number, reply in enumerate(refused))
    )
    assert {reply.told for reply in again} == {ACCEPTED}
    bought = units_of(accepted([*replies, *again]))
    for sku, stock in (await quiet_stock(clients[0], skus, limit_s=20.0)).items():
        assert stock.sold == bought[sku]
    assert (await audit_whole(running)).findings == []


async def _nobody_serves(clients: list[Client]) -> bool:
    return not any([await client.serving() for client in clients])


async def _all_serve(clients: list[Client]) -> bool:
    return all([await client.serving() for client in clients])


async def _all_buy(load: Load) -> bool:
    last = load.since(time.monotonic() - 2.0, time.monotonic() - 1.0)
    return bool(last) and {reply.told for reply in last} == {ACCEPTED}
