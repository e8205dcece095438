"""A priority is part of an order: shown with it, kept with its id, told in its event, checked when it is placed."""

import asyncio
import json
import subprocess
import sys

from sluice._gen.events.v1.events_pb2 import OrderCreated
from sluice._gen.orders.v1 import orders_pb2
from sluice.seams.event_log import TOPIC_ORDER_CREATED
from tests.integration.buying import Client, ask, create_skus, order
from tests.integration.embedded.conftest import Embedded, logged_events


async def test_it_is_shown_with_the_order_and_told_in_its_event(
    clients: list[Client], name: str, gateway: Embedded
) -> None:
    await create_skus(clients[0], [name], 10)
    placed = order({name: 1}, priority=7)
    assert (await ask(clients[0].place_order, placed)).response.order.priority == 7
    found = await clients[1].get_order(orders_pb2.GetOrderRequest(order_id=placed.order_id))
    assert found.order.priority == 7
    (created,) = [each for each in await logged_events(gateway, TOPIC_ORDER_CREATED) if each.key == placed.order_id]
    assert OrderCreated.FromString(created.value).priority == 7


async def test_the_same_id_with_another_priority_is_another_order(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    placed = order({name: 1}, priority=7)
    assert (await ask(clients[0].place_order, placed)).told == "ACCEPTED"
    assert (await ask(clients[0].place_order, placed)).response.replayed
    for priority in (0, 8):
        other = order({name: 1}, order_id=placed.order_id, priority=priority)
        assert (await ask(clients[0].place_order, other)).told == "ORDER_ID_REUSED"


async def test_one_beyond_the_range_is_named(clients: list[Client], name: str) -> None:
    reply = await ask(clients[0].place_order, order({name: 1}, priority=1_001))
    assert (reply.told, reply.violations) == ("INVALID_ORDER", ("priority",))


async def test_it_can_be_given_on_the_command_line(clients: list[Client], name: str, gateway: Embedded) -> None:
    await create_skus(clients[0], [name], 10)
    command = [sys.executable, "-m", "commands.main", "order", "place", name, "--priority", "12"]
    command += ["--endpoint", gateway.endpoint, "--json"]
    printed = await asyncio.to_thread(subprocess.check_output, command, text=True)
    assert json.loads(printed)["order"]["priority"] == 12
