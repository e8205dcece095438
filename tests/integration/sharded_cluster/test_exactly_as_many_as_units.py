"""Orders in four journals for the same units: as many are accepted as there are units, with carts and repeats too."""

import asyncio
from collections import Counter

from commands.burst import ACCEPTED, Clients, new_orders
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1 import orders_pb2
from sluice.sharding import shard_of
from tests.integration.buying import (
    OUT_OF_STOCK,
    Client,
    accepted,
    ask,
    connected,
    create_skus,
    order,
    place_until_answered,
    quiet_stock,
    send_batches,
    units_of,
)
from tests.integration.carts import UNITS as UNITS_FOR_CARTS
from tests.integration.carts import check_all_lines_or_none, check_refusals_name_what_was_short, random_carts
from tests.integration.cluster.conftest import audit_whole
from tests.integration.sharded_cluster.conftest import JOURNALS

RUNS = 8
ORDERS = 1_000
UNITS = 300


async def test_exactly_as_many_orders_are_accepted_as_there_are_units(running: Cluster, name: str) -> None:
    skus = [f"{name}-{run}" for run in range(RUNS)]
    buyers = Clients(running.endpoints.gateways, 8)
    try:
        await buyers.connect()
        await buyers.create_skus(skus, UNITS)
        for sku in skus:
            burst = await buyers.place_all(new_orders(ORDERS, [sku]))
            assert burst.told() == {ACCEPTED: UNITS, OUT_OF_STOCK: ORDERS - UNITS}
    finally:
        await buyers.close()

    async with connected(running.endpoints.gateways) as (client, _):
        for sku, stock in (await quiet_stock(client, skus)).items():
            assert (stock.sold, stock.available) == (UNITS, 0), sku
    assert (await audit_whole(running)).findings == []


async def test_carts_get_all_lines_or_none(running: Cluster, clients: list[Client], name: str) -> None:
    skus, carts = random_carts(name, seed=3)
    await create_skus(clients[0], skus, UNITS_FOR_CARTS)
    # Hundreds of carts that wait for each other may outlast a time limit; a buyer who hears so asks again.
    replies = await asyncio.gather(*(place_until_answered(clients, cart, n) for n, cart in enumerate(carts)))
    assert {shard_of(each.order_id, JOURNALS) for each in accepted(replies)} == set(range(JOURNALS))
    await check_all_lines_or_none(clients, skus, replies)
    check_refusals_name_what_was_short(replies)
    assert (await audit_whole(running)).findings == []


async def test_a_batch_over_all_journals_is_answered_whole_and_a_repeat_is_answered_as_before(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], UNITS)
    batches = [[order({name: 1}) for _ in range(200)] for _ in range(3)]
    first = await send_batches(clients[0], batches)
    outcomes = Counter((each.outcome, each.reason) for each in first)
    assert outcomes == {
        (orders_pb2.OUTCOME_ACCEPTED, ""): UNITS,
        (orders_pb2.OUTCOME_REJECTED, OUT_OF_STOCK): 600 - UNITS,
    }

    again = await send_batches(clients[1], batches)
    sold = {each.order_id for each in first if each.outcome == orders_pb2.OUTCOME_ACCEPTED}
    assert {each.order_id for each in again if each.replayed} == sold
    assert {each.order_id for each in again if each.outcome == orders_pb2.OUTCOME_ACCEPTED} == sold
    assert (await quiet_stock(clients[0], [name]))[name].sold == UNITS


async def test_one_id_sent_many_times_at_once_is_one_order(running: Cluster, clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], UNITS)
    orders = [order({name: 1}) for _ in range(40)]
    replies = await asyncio.gather(*(ask(client.place_order, each) for client in clients for each in orders))
    assert {reply.told for reply in replies} == {ACCEPTED}
    assert sum(not reply.response.replayed for reply in replies) == len(orders)
    assert (await quiet_stock(clients[0], [name]))[name].sold == len(orders)
    assert units_of(orders)[name] == len(orders)
