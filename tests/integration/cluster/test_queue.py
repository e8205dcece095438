"""Queued orders on real Kafka: first come, first served, whatever dies; and what is promised while Kafka is away."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest

from audit.fcfs import audit_fcfs
from commands.audit import cluster_parts
from deploy.local.cluster import Cluster
from deploy.local.processes import Process
from deploy.local.services import stock_store
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import Client, ask, create_skus, quiet_stock, send_batches, until
from tests.integration.cluster.conftest import audit_whole, kill_and_start
from tests.integration.queued import Ticket, outcome_of, outcomes_of, queue_one, queued_order, told_of

UNITS, ORDERS = 300, 1_000
AT_ONCE_S = 2.0

CREATED = ("CREATED", "")
OUT_OF_STOCK = ("REJECTED", "OUT_OF_STOCK")


async def clean(running: Cluster) -> None:
    """Both audits find nothing."""
    assert (await audit_whole(running)).findings == []
    found = running.endpoints
    async with cluster_parts(found.postgres, stock_store(found), found.kafka) as parts:
        report = await audit_fcfs(parts.log, parts.journal, parts.store)
        assert report.findings == []
        assert report.requests


async def test_a_burst_is_decided_in_order_though_its_consumer_is_killed(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], UNITS)
    batches = [[queued_order({name: 1}) for _ in range(50)] for _ in range(ORDERS // 50)]
    first, second = await asyncio.gather(
        send_batches(clients[0], batches[::2]), send_batches(clients[1], batches[1::2])
    )
    results = [*first, *second]
    assert Counter(each.outcome for each in results) == {orders_pb2.OUTCOME_PENDING: ORDERS}
    tickets = [Ticket(each.order_id, each.queue_position) for each in results]
    assert len({ticket.position.partition for ticket in tickets}) == 1
    assert len({ticket.position.offset for ticket in tickets}) == ORDERS

    await kill_and_start(running, "consume-0")
    outcomes = await asyncio.gather(
        *(outcome_of(clients[number % len(clients)], ticket) for number, ticket in enumerate(tickets))
    )
    assert Counter(outcomes) == {CREATED: UNITS, OUT_OF_STOCK: ORDERS - UNITS}
    by_turn = sorted(zip(tickets, outcomes, strict=True), key=lambda each: each[0].position.offset)
    assert [outcome for _, outcome in by_turn] == [CREATED] * UNITS + [OUT_OF_STOCK] * (ORDERS - UNITS)
    assert (await quiet_stock(clients[0], [name], limit_s=40.0))[name].sold == UNITS
    await clean(running)


async def test_killed_again_and_again_while_carts_of_many_sizes_are_decided(
    running: Cluster, clients: list[Client], name: str
) -> None:
    skus = [f"{name}-{letter}" for letter in "abc"]
    await create_skus(clients[0], skus, 40)
    requests = [
        queued_order({skus[number % 3]: 1 + number % 4} | ({skus[(number + 1) % 3]: 1} if number % 5 == 0 else {}))
        for number in range(240)
    ]
    results = await send_batches(clients[0], [requests[at : at + 40] for at in range(0, 240, 40)])
    tickets = [Ticket(each.order_id, each.queue_position) for each in results]
    watching = asyncio.ensure_future(outcomes_of(clients, tickets))
    for _ in range(3):
        await kill_and_start(running, "consume-0")
        await asyncio.sleep(1.0)
    outcomes = await watching
    assert set(outcomes) == {CREATED, OUT_OF_STOCK}
    await clean(running)


async def test_any_gateway_knows_a_pending_order_by_its_position(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], 1)
    consumer = running.process("consume-0")
    await asyncio.to_thread(consumer.stop)
    ticket = await queue_one(clients[0], queued_order({name: 1}))
    for client in clients[:2]:
        request = orders_pb2.GetOrderRequest(order_id=ticket.order_id, queue_position=ticket.position)
        found = await ask(client.get_order, request)
        assert found.response.order.state == orders_pb2.ORDER_STATE_PENDING
        assert [line.sku for line in found.response.order.lines] == [name]
    watching = asyncio.ensure_future(told_of(clients[1], ticket))
    wrong = orders_pb2.QueuePosition(partition=ticket.position.partition, offset=ticket.position.offset + 1_000)
    unknown = orders_pb2.GetOrderRequest(order_id=ticket.order_id, queue_position=wrong)
    assert (await ask(clients[1].get_order, unknown)).told == "ORDER_NOT_FOUND"
    await asyncio.to_thread(consumer.cont)
    turns = await watching
    assert [(each.version, each.state) for each in turns] == [
        (0, orders_pb2.ORDER_STATE_PENDING),
        (1, orders_pb2.ORDER_STATE_CREATED),
    ]


@pytest.mark.parametrize(
    ("take_away", "bring_back"),
    [
        pytest.param(Process.stop, Process.cont, id="frozen"),
        pytest.param(Process.kill, Process.start, id="killed"),
    ],
)
async def test_kafka_away(
    running: Cluster,
    clients: list[Client],
    name: str,
    take_away: Callable[[Process], None],
    bring_back: Callable[[Process], None],
) -> None:
    """Buyers hear so in time; what was accepted before is decided, and nothing that was not is lost sight of."""
    await create_skus(clients[0], [name], 1_000)
    before = [await queue_one(client, queued_order({name: 1})) for client in clients]
    kafka = running.process("kafka")
    await asyncio.to_thread(take_away, kafka)
    try:
        requests = [queued_order({name: 1}) for _ in range(40)]
        replies = await asyncio.gather(*(ask(clients[n % 8].place_order, each) for n, each in enumerate(requests)))
        assert {reply.told for reply in replies} == {"QUEUE_UNREACHABLE"}
        assert all(reply.retry_delay_s for reply in replies)
        assert max(reply.latency_s for reply in replies) < AT_ONCE_S + 0.5, "the machine is busy"
        begun = time.monotonic()
        assert (await ask(clients[0].place_order, requests[0])).told == "QUEUE_UNREACHABLE"
        assert time.monotonic() - begun < AT_ONCE_S
        assert all([await client.serving() for client in clients[:2]])
    finally:
        await asyncio.to_thread(bring_back, kafka)

    tickets = []
    for request in requests:

        async def queued(request: orders_pb2.PlaceOrderRequest = request) -> bool:
            reply = await ask(clients[0].place_order, request)
            if reply.told == "QUEUE_UNREACHABLE":
                return False
            tickets.append(Ticket(request.order_id, reply.response.order.queue_position))
            return True

        await until("the order is queued", queued, limit_s=60.0)
    assert await outcomes_of(clients, [*before, *tickets]) == {CREATED: 48}
    await clean(running)


@pytest.mark.parametrize("away", ["postgres", "stockd-0"])
async def test_what_is_needed_is_away_and_nobody_is_rejected_for_it(
    running: Cluster, clients: list[Client], name: str, away: str
) -> None:
    await create_skus(clients[0], [name], 50)
    process = running.process(away)
    await asyncio.to_thread(process.stop)
    try:
        tickets = [await queue_one(clients[0], queued_order({name: 1})) for _ in range(20)]
        await asyncio.sleep(3.0)
    finally:
        await asyncio.to_thread(process.cont)
    assert await outcomes_of(clients, tickets) == {CREATED: 20}
    await clean(running)
