"""Buyers who queue: their orders, and what becomes of them."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc

from sluice._gen.orders.v1 import orders_pb2
from sluice.model import OrderState
from tests.integration.buying import CALL_LIMIT_S, QUIET_POLL_S, Client, order

DECIDED_LIMIT_S = 120.0
"""A consumer that was killed is missed by its group after 45 s; and the machine that runs the tests is busy."""


class Ticket(NamedTuple):
    """A queued order, as its buyer was told of it."""

    order_id: str
    position: Any


def queued_order(*args: Any, **named: Any) -> orders_pb2.PlaceOrderRequest:
    request = order(*args, **named)
    request.mode = orders_pb2.MODE_QUEUED
    return request


async def queue_one(client: Client, request: orders_pb2.PlaceOrderRequest) -> Ticket:
    response = await client.place_order(request, timeout=CALL_LIMIT_S)
    assert response.order.state == orders_pb2.ORDER_STATE_PENDING
    assert response.order.HasField("queue_position")
    return Ticket(response.order.order_id, response.order.queue_position)


async def told_of(client: Client, ticket: Ticket, limit_s: float = DECIDED_LIMIT_S) -> list[Any]:
    """The order at each of its turns until it is decided."""
    turns = []
    stream = client.watch_order(ticket.order_id, timeout_s=limit_s, position=ticket.position)
    async for turn in stream:
        turns.append(turn.order)
        if turn.order.state != orders_pb2.ORDER_STATE_PENDING:
            stream.cancel()
            return turns
    raise AssertionError("the watch ended before the order was decided")


async def outcome_of(client: Client, ticket: Ticket) -> tuple[str, str]:
    """(state, reason). Asks again while the gateway says that it cannot know."""
    deadline = time.monotonic() + DECIDED_LIMIT_S
    while True:
        try:
            last = (await told_of(client, ticket))[-1]
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            await asyncio.sleep(QUIET_POLL_S)
        else:
            return OrderState(last.state).name, last.reason


async def outcomes_of(clients: Sequence[Client], tickets: Sequence[Ticket]) -> Counter[tuple[str, str]]:
    each = [outcome_of(clients[number % len(clients)], ticket) for number, ticket in enumerate(tickets)]
    return Counter(await asyncio.gather(*each))
