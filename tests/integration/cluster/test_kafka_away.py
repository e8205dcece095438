"""Kafka frozen or killed: no buyer notices, and afterwards every event is there."""

import asyncio
import time
from collections.abc import Callable

import pytest

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from deploy.local.processes import Process
from tests.integration.buying import Client, accepted, ask, create_skus, order, place_all
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.events import created_events

AT_ONCE_S = 2.0
ORDERS = 300


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
