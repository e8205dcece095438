"""Kafka frozen or killed: no buyer notices, and afterwards every event is there."""

import asyncio
import os
import time
from collections.abc import Callable

import pytest
import typer

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from deploy.local.processes import Process
from tests.integration.buying import Client, accepted, ask, create_skus, order, place_all, until
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.events import created_events
from tests.integration.cluster.load import steady_load
from tests.integration.scraping import scraped

AT_ONCE_S = 2.0
ORDERS = 300

AWAY_S = float(os.environ.get("SLUICE_TEST_AWAY_S", "15"))
"""Under load. With 60 nothing else happens than with 15, but that there is more to catch up with."""

CATCH_UP_LIMIT_S = 60.0


@pytest.mark.parametrize(
    ("take_away", "bring_back"),
    [
        pytest.param(Process.stop, Process.cont, id="frozen"),
        pytest.param(Process.kill, Process.start, id="killed"),
    ],
)
async def test_orders_are_accepted_meanwhile_and_the_backlog_drains(
    running: Cluster,
    clients: list[Client],
    name: str,
    take_away: Callable[[Process], None],
    bring_back: Callable[[Process], None],
) -> None:
    await create_skus(clients[0], [name], 10_000)
    kafka = running.process("kafka")
    await asyncio.to_thread(take_away, kafka)
    try:
        replies = await place_all(clients, [order({name: 1}) for _ in range(ORDERS)])
        until_s = time.monotonic() + 3.0
        while time.monotonic() < until_s:
            replies.append(await ask(clients[len(replies) % len(clients)].place_order, order({name: 1})))
            await asyncio.sleep(0.02)
        assert all([await client.serving() for client in clients[:2]]), "a gateway does not need Kafka"
    finally:
        await asyncio.to_thread(bring_back, kafka)

    assert {reply.told for reply in replies} == {ACCEPTED}
    assert max(reply.latency_s for reply in replies) < AT_ONCE_S
    assert (await audit_whole(running)).findings == []
    events = await created_events(running)
    assert {request.order_id: events[request.order_id] for request in accepted(replies)} == dict.fromkeys(
        [reply.request.order_id for reply in replies], 1
    )


async def test_under_load_accepted_orders_wait_in_the_outbox_and_then_nothing_lags(
    running: Cluster, clients: list[Client], name: str
) -> None:
    skus = [f"{name}-{number}" for number in range(20)]
    await create_skus(clients[0], skus, 10_000)
    kafka, relay = running.process("kafka"), running.metrics("relay-0")
    async with steady_load(clients, skus) as load:
        await asyncio.sleep(2)
        await asyncio.to_thread(kafka.kill)
        killed = time.monotonic()
        try:
            await asyncio.sleep(AWAY_S)
            waiting = await scraped(relay)
        finally:
            await asyncio.to_thread(kafka.start)
        back = time.monotonic()
        await asyncio.sleep(2)
    meanwhile = load.since(killed, back)
    assert {reply.told for reply in meanwhile} == {ACCEPTED}
    assert max(reply.latency_s for reply in meanwhile) < AT_ONCE_S
    assert waiting["sluice_relay_backlog_rows"] > 0
    assert waiting["sluice_relay_lag_seconds"] > AWAY_S - 5

    async def nothing_lags() -> bool:
        shown = await scraped(relay)
        return shown["sluice_relay_backlog_rows"] == 0 and shown["sluice_relay_lag_seconds"] == 0

    await until("nothing waits in the outbox", nothing_lags, limit_s=CATCH_UP_LIMIT_S)
    typer.echo(
        f"Kafka was away for {back - killed:.1f} s; {len(meanwhile)} orders were accepted meanwhile, the slowest in"
        f" {max(reply.latency_s for reply in meanwhile):.2f} s; the outbox was empty"
        f" {time.monotonic() - back:.1f} s after it was back"
    )
    assert (await audit_whole(running)).findings == []
    events = await created_events(running)
    wanted = [sent.reply.request.order_id for sent in load.sent if sent.reply.told == ACCEPTED]
    assert {order_id: events[order_id] for order_id in wanted} == dict.fromkeys(wanted, 1)
