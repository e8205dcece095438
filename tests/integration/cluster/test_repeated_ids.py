"""Order ids that come several times, over several gateways and both kinds of call: one order, one spend."""

import asyncio
import random

import grpc

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import (
    OUT_OF_STOCK,
    Client,
    ask,
    connected,
    create_skus,
    order,
    place_all,
    quiet_stock,
    send_batches,
    stock_of,
    told,
    units_of,
)
from tests.integration.cluster.conftest import audit_whole, kill_and_start

DISTINCT = 3_500
REPEATS = 1_500
BATCH = 100
UNARY_IN_FLIGHT = 200
PLENTY = 10_000


async def test_every_id_is_accepted_once_and_spends_once(running: Cluster, clients: list[Client], name: str) -> None:
    """5,000 orders, 30 % of them repeats, shuffled and dealt to four clients: two unary and two streams, one of each
    at each gateway. One SKU runs out on the way.
    """
    chance = random.Random(3)
    skus = [f"{name}-{number}" for number in range(20)]
    scarce = f"{name}-scarce"
    await create_skus(clients[0], skus, PLENTY)
    await create_skus(clients[0], [scarce], 50)
    distinct = [order({chance.choice(skus): chance.randint(1, 3)}) for _ in range(DISTINCT - 100)]
    distinct += [order({scarce: 1}) for _ in range(100)]
    orders = distinct + chance.choices(distinct, k=REPEATS)
    chance.shuffle(orders)
    quarters = [orders[quarter::4] for quarter in range(4)]

    answers: dict[str, list[str]] = {each.order_id: [] for each in distinct}
    replays = 0

    async def place_unary(client: Client, share: list[orders_pb2.PlaceOrderRequest]) -> None:
        nonlocal replays
        for at in range(0, len(share), UNARY_IN_FLIGHT):
            for reply in await place_all([client], share[at : at + UNARY_IN_FLIGHT]):
                answers[reply.request.order_id].append(reply.told)
                replays += reply.response is not None and reply.response.replayed

    async def place_streamed(client: Client, share: list[orders_pb2.PlaceOrderRequest]) -> None:
        nonlocal replays
        for result in await send_batches(client, [share[at : at + BATCH] for at in range(0, len(share), BATCH)]):
            answers[result.order_id].append(
                ACCEPTED if result.outcome == orders_pb2.OUTCOME_ACCEPTED else result.reason
            )
            replays += result.replayed

    await asyncio.gather(
        place_unary(clients[0], quarters[0]),
        place_unary(clients[1], quarters[1]),
        place_streamed(clients[2], quarters[2]),
        place_streamed(clients[3], quarters[3]),
    )

    bought = [each for each in distinct if ACCEPTED in answers[each.order_id]]
    refused = [each for each in distinct if set(answers[each.order_id]) == {OUT_OF_STOCK}]
    assert len(bought) == DISTINCT - 50
    assert len(refused) == 50
    for each in bought:
        # The unit of a repeat comes back a moment later: the scarce SKU may be refused before it is had.
        may_hear = {ACCEPTED, OUT_OF_STOCK} if each.lines[0].sku == scarce else {ACCEPTED}
        assert set(answers[each.order_id]) <= may_hear
    accepted = sum(told.count(ACCEPTED) for told in answers.values())
    assert replays == accepted - len(bought), "one acceptance of each id is the first"

    stock = await quiet_stock(clients[0], [*skus, scarce])
    assert {sku: stock[sku].sold for sku in stock} == dict(units_of(bought))
    found = await asyncio.gather(
        *(
            ask(clients[n % 8].get_order, orders_pb2.GetOrderRequest(order_id=o.order_id))
            for n, o in enumerate(distinct)
        )
    )
    assert told(found) == {ACCEPTED: len(bought), "ORDER_NOT_FOUND": len(refused)}
    assert (await audit_whole(running)).findings == []


async def test_a_reused_id_with_other_content_is_refused_and_moves_nothing(clients: list[Client], name: str) -> None:
    first, second = clients[0], clients[1]
    await create_skus(first, [name, f"{name}-b"], 10)
    placed = order({name: 2})
    assert (await ask(first.place_order, placed)).told == ACCEPTED
    before = await quiet_stock(first, [name, f"{name}-b"])

    for other in (
        order({name: 3}, order_id=placed.order_id),
        order({f"{name}-b": 2}, order_id=placed.order_id),
        order({name: 2, f"{name}-b": 1}, order_id=placed.order_id),
        order({name: 2}, customer_id="berta", order_id=placed.order_id),
    ):
        for client in (first, second):
            reply = await ask(client.place_order, other)
            assert (reply.code, reply.told) == (grpc.StatusCode.ALREADY_EXISTS, "ORDER_ID_REUSED")
            (result,) = await send_batches(client, [[other]])
            assert (result.outcome, result.reason) == (orders_pb2.OUTCOME_REJECTED, "ORDER_ID_REUSED")

    after = await quiet_stock(first, [name, f"{name}-b"])
    assert {sku: (stock.available, stock.sold) for sku, stock in after.items()} == {
        sku: (stock.available, stock.sold) for sku, stock in before.items()
    }


async def test_the_same_id_with_two_contents_at_once_is_placed_once(clients: list[Client], name: str) -> None:
    """Both gateways at the same moment: one content wins, everybody with the other is told so."""
    await create_skus(clients[0], [name], 1_000)
    sold = 0
    for _ in range(20):
        one = order({name: 1})
        two = order({name: 2}, order_id=one.order_id)
        replies = await place_all(clients, [one, two, two, one, one, two, two, one])
        winners = {reply.request.lines[0].quantity for reply in replies if reply.told == ACCEPTED}
        assert len(winners) == 1
        for reply in replies:
            won = reply.request.lines[0].quantity in winners
            assert reply.told == (ACCEPTED if won else "ORDER_ID_REUSED")
        sold += winners.pop()
    assert (await quiet_stock(clients[0], [name]))[name].sold == sold


async def test_repeats_after_a_restart_of_the_gateway_are_replayed(
    running: Cluster, clients: list[Client], name: str
) -> None:
    await create_skus(clients[0], [name], 100)
    orders = [order({name: 1}) for _ in range(150)]
    first = {reply.request.order_id: reply for reply in await place_all(clients, orders)}
    for gateway in ("gateway-0", "gateway-1"):
        await kill_and_start(running, gateway)

    async with connected(running.endpoints.gateways, 8) as again:
        for reply in await place_all(again, orders):
            before = first[reply.request.order_id]
            assert reply.told == before.told
            if reply.told == ACCEPTED:
                assert reply.response.replayed
                assert reply.response.order == before.response.order
        assert (await stock_of(again[0], name)).sold == 100
