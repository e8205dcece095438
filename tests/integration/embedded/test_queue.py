"""Queued orders of an embedded gateway: accepted when the queue has them, decided in its order, never twice."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from deploy.local.processes import Process
from sluice._gen.orders.v1 import orders_pb2
from sluice.model import OrderState
from tests.integration.buying import Client, ask, connected, create_skus, order, quiet_stock, send_batches
from tests.integration.embedded.conftest import Embedded, audit_files
from tests.integration.queued import Ticket, outcome_of, outcomes_of, queue_one, queued_order, told_of

CREATED = ("CREATED", "")
OUT_OF_STOCK = ("REJECTED", "OUT_OF_STOCK")


async def test_who_came_first_gets_the_units(gateway: Embedded, clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 3)
    tickets = [await queue_one(clients[0], queued_order({name: 1})) for _ in range(5)]
    offsets = [ticket.position.offset for ticket in tickets]
    assert offsets == list(range(offsets[0], offsets[0] + 5))
    outcomes = [await outcome_of(clients[1], ticket) for ticket in tickets]
    assert outcomes == [CREATED] * 3 + [OUT_OF_STOCK] * 2
    assert (await quiet_stock(clients[0], [name]))[name].sold == 3
    assert (await audit_files(gateway)).findings == []


async def test_an_order_is_pending_until_it_is_decided(own_gateway: Embedded, name: str) -> None:
    """A gateway whose queue nobody reads, and then the same one with its reader."""
    reading = own_gateway.process
    reading.kill()
    command = replace(reading.command, argv=(*reading.command.argv, "--consumers", "compensation"))
    waiting = Process(command, reading.answers)
    waiting.start()
    try:
        async with connected([own_gateway.endpoint], 2) as clients:
            await create_skus(clients[0], [name], 1)
            ticket = await queue_one(clients[0], queued_order({name: 1}, hold_s=600))
            found = await ask(clients[1].get_order, orders_pb2.GetOrderRequest(order_id=ticket.order_id))
            assert found.response.order.state == orders_pb2.ORDER_STATE_PENDING
            assert found.response.order.queue_position == ticket.position
            cancelled = await ask(clients[0].cancel_order, orders_pb2.CancelOrderRequest(order_id=ticket.order_id))
            assert (cancelled.told, cancelled.blamed["state"]) == ("ORDER_STATE", "PENDING")
    finally:
        waiting.kill()
    reading.start()
    async with connected([own_gateway.endpoint], 1) as (client,):
        turns = await told_of(client, ticket)
        assert OrderState(turns[-1].state) is OrderState.HELD
        assert turns[-1].version == 1


async def test_a_rejected_order_is_listed_and_rejected_again(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 0)
    request = queued_order({name: 1}, customer_id=name)
    ticket = await queue_one(clients[0], request)
    assert await outcome_of(clients[0], ticket) == OUT_OF_STOCK
    listed = await clients[0].list_orders(orders_pb2.ListOrdersRequest(customer_id=name))
    assert [(each.state, each.reason) for each in listed.orders] == [(OrderState.REJECTED, "OUT_OF_STOCK")]
    direct = order({name: 1}, customer_id=name, order_id=request.order_id)
    for again in (request, direct):
        reply = await ask(clients[0].place_order, again)
        assert (reply.told, reply.blamed) == ("OUT_OF_STOCK", {"sku": name})


async def test_the_stream_queues_too_and_each_order_has_its_own_answer(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    batch = [queued_order({name: 1}) for _ in range(20)] + [queued_order({f"{name}-unknown": 1}), order({name: 2})]
    results = {each.order_id: each for each in await send_batches(clients[0], [batch])}
    assert results[batch[-1].order_id].outcome == orders_pb2.OUTCOME_ACCEPTED
    queued = [results[each.order_id] for each in batch[:-1]]
    assert {each.outcome for each in queued} == {orders_pb2.OUTCOME_PENDING}
    assert await outcomes_of(clients, [Ticket(each.order_id, each.queue_position) for each in queued]) == {
        CREATED: 8,
        OUT_OF_STOCK: 12,
        ("REJECTED", "SKU_NOT_FOUND"): 1,
    }


async def test_the_same_id_with_other_content_is_refused(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    request = queued_order({name: 1})
    ticket = await queue_one(clients[0], request)
    assert (await ask(clients[1].place_order, request)).response.replayed
    other = queued_order({name: 2}, order_id=request.order_id)
    assert (await ask(clients[1].place_order, other)).told == "ORDER_ID_REUSED"
    assert await outcome_of(clients[0], ticket) == CREATED
    assert (await ask(clients[1].place_order, other)).told == "ORDER_ID_REUSED"


@pytest.mark.timeout(180)
async def test_killed_in_the_middle_nobody_is_sold_to_twice(own_gateway: Embedded, name: str) -> None:
    async with connected([own_gateway.endpoint], 1) as (client,):
        await create_skus(client, [name], 300)
        batches = [[queued_order({name: 1}) for _ in range(100)] for _ in range(10)]
        results = await send_batches(client, batches)
        assert Counter(each.outcome for each in results) == {orders_pb2.OUTCOME_PENDING: 1_000}
    await asyncio.to_thread(own_gateway.process.kill)
    await asyncio.to_thread(own_gateway.process.start)
    async with connected([own_gateway.endpoint], 8) as clients:
        tickets = [Ticket(each.order_id, each.queue_position) for each in results]
        assert await outcomes_of(clients, tickets) == {CREATED: 300, OUT_OF_STOCK: 700}
        assert (await quiet_stock(clients[0], [name]))[name].sold == 300
    assert (await audit_files(own_gateway)).findings == []
