"""PostgreSQL frozen or killed: every buyer hears so within two seconds, and the sale goes on when it is back."""

import asyncio
import time
from collections.abc import Callable

import pytest

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from deploy.local.processes import Process
from tests.integration.buying import (
    Client,
    accepted,
    ask,
    create_skus,
    order,
    place_until_answered,
    quiet_stock,
    units_of,
    until,
)
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.load import check_told_to_come_back, steady_load

SKUS = 6
PLENTY = 100_000
WITHIN_S = 2.0
AWAY_S = 5.0
"""Longer than every time limit between a buyer and the journal."""

BACK_LIMIT_S = 10.0


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
    postgres = running.process("postgres")

    async with steady_load(clients, skus) as load:
        await asyncio.sleep(1.0)
        away = time.monotonic()
        await asyncio.to_thread(take_away, postgres)
        await until("no gateway says that it serves", lambda: _nobody_serves(clients[:2]), limit_s=5.0)
        await asyncio.sleep(away + AWAY_S - time.monotonic())
        back = time.monotonic()
        await asyncio.to_thread(bring_back, postgres)
        await until("both gateways say that they serve", lambda: _all_serve(clients[:2]), limit_s=BACK_LIMIT_S)
        served = time.monotonic()
        await asyncio.sleep(1.5)

    replies = load.since(0)
    refused = [reply for reply in replies if reply.told != ACCEPTED]
    check_told_to_come_back(refused, "JOURNAL_UNREACHABLE", WITHIN_S)
    for reply in load.since(away + WITHIN_S, back - WITHIN_S):
        assert reply.told == "JOURNAL_UNREACHABLE"
    assert {reply.told for reply in load.since(0, away - WITHIN_S)} <= {ACCEPTED}
    assert {reply.told for reply in load.since(served + 0.5)} == {ACCEPTED}

    # An order that was told UNAVAILABLE may stand all the same: sent again it is settled, once.
    again = await asyncio.gather(
        *(place_until_answered(clients, reply.request, number) for number, reply in enumerate(refused))
    )
    assert {reply.told for reply in again} == {ACCEPTED}
    bought = units_of(accepted([*replies, *again]))
    for sku, stock in (await quiet_stock(clients[0], skus, limit_s=20.0)).items():
        assert stock.sold == bought[sku]
    assert (await audit_whole(running)).findings == []


async def test_an_idle_gateway_answers_the_first_buyer_in_time_too(
    running: Cluster, clients: list[Client], name: str
) -> None:
    """Nobody has found out yet that PostgreSQL is away."""
    await create_skus(clients[0], [name], PLENTY)
    assert (await ask(clients[0].place_order, order({name: 1}))).told == ACCEPTED
    postgres = running.process("postgres")
    await asyncio.to_thread(postgres.stop)
    try:
        replies = await asyncio.gather(*(ask(client.place_order, order({name: 1})) for client in clients))
        check_told_to_come_back(replies, "JOURNAL_UNREACHABLE", WITHIN_S)
    finally:
        await asyncio.to_thread(postgres.cont)
    await until("both gateways serve", lambda: _all_serve(clients[:2]), limit_s=BACK_LIMIT_S)
    for reply in replies:
        assert (await ask(clients[0].place_order, reply.request)).told == ACCEPTED
    assert (await quiet_stock(clients[0], [name]))[name].sold == 1 + len(replies)


async def _nobody_serves(clients: list[Client]) -> bool:
    return not any([await client.serving() for client in clients])


async def _all_serve(clients: list[Client]) -> bool:
    return all([await client.serving() for client in clients])
