"""Orders are held, confirmed, cancelled and expired: each hold ends once; the units of what ended are sold again."""

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from sluice.client.order_ids import new_order_id
from sluice.model import OrderState
from tests.integration.buying import (
    CALL_LIMIT_S,
    Client,
    Reply,
    ask,
    create_skus,
    order,
    place_all,
    quiet_stock,
    send_batches,
    stock_of,
    told,
    until,
)
from tests.integration.embedded.conftest import Embedded, audit_files

HELD, CREATED, CONFIRMED = OrderState.HELD, OrderState.CREATED, OrderState.CONFIRMED
CANCELLED, EXPIRED = OrderState.CANCELLED, OrderState.EXPIRED
LONG_S = 3600.0


@pytest.fixture
def client(clients: list[Client]) -> Client:
    return clients[0]


async def placed(client: Client, lines: dict[str, int], hold_s: float | None = None) -> orders_pb2.Order:
    reply = await ask(client.place_order, order(lines, hold_s=hold_s))
    assert reply.told == ACCEPTED
    found: orders_pb2.Order = reply.response.order
    return found


async def cancel(client: Client, order_id: str) -> Reply:
    return await ask(client.cancel_order, orders_pb2.CancelOrderRequest(order_id=order_id))


async def confirm(client: Client, order_id: str) -> Reply:
    return await ask(client.confirm_order, orders_pb2.ConfirmOrderRequest(order_id=order_id))


async def get(client: Client, order_id: str) -> orders_pb2.Order:
    response = await client.get_order(orders_pb2.GetOrderRequest(order_id=order_id), timeout=CALL_LIMIT_S)
    found: orders_pb2.Order = response.order
    return found


async def until_expired(client: Client, order_id: str) -> orders_pb2.Order:
    async def expired() -> bool:
        return (await get(client, order_id)).state == EXPIRED

    await until("the hold expires", expired)
    return await get(client, order_id)


async def test_a_cancelled_orders_units_are_sold_to_the_next_at_once(client: Client, name: str) -> None:
    await create_skus(client, [name], 1)
    for _ in range(20):
        first = await placed(client, {name: 1})
        assert (await ask(client.place_order, order({name: 1}))).told == "OUT_OF_STOCK"
        cancelled = (await cancel(client, first.order_id)).response.order
        assert (cancelled.state, cancelled.version, cancelled.reason) == (CANCELLED, 2, "CLIENT")
        second = await placed(client, {name: 1})
        await cancel(client, second.order_id)


async def test_cancelling_again_is_answered_again(client: Client, name: str) -> None:
    await create_skus(client, [name], 2)
    first = await placed(client, {name: 1})
    replies = await asyncio.gather(*(cancel(client, first.order_id) for _ in range(10)))
    assert {reply.told for reply in replies} == {ACCEPTED}
    assert len({reply.response.order.SerializeToString() for reply in replies}) == 1
    assert (await quiet_stock(client, [name]))[name].sold == 0
    assert await get(client, first.order_id) == replies[0].response.order


async def test_a_held_order_says_until_when_and_is_confirmed_once(client: Client, name: str) -> None:
    await create_skus(client, [name], 1)
    held = await placed(client, {name: 1}, LONG_S)
    assert (held.state, held.version) == (HELD, 1)
    assert held.hold_end_time.ToMicroseconds() - held.create_time.ToMicroseconds() == LONG_S * 1_000_000
    assert await get(client, held.order_id) == held
    confirmed = (await confirm(client, held.order_id)).response.order
    assert (confirmed.state, confirmed.version, confirmed.reason) == (CONFIRMED, 2, "")
    assert (await confirm(client, held.order_id)).response.order == confirmed


async def test_a_hold_that_nobody_confirms_expires_and_a_late_confirmation_is_told_so(
    client: Client, name: str
) -> None:
    await create_skus(client, [name], 1)
    held = await placed(client, {name: 1}, 1.0)
    assert (await ask(client.place_order, order({name: 1}))).told == "OUT_OF_STOCK"
    expired = await until_expired(client, held.order_id)
    assert (expired.version, expired.reason) == (2, "HOLD_EXPIRED")
    assert expired.update_time.ToNanoseconds() >= expired.hold_end_time.ToNanoseconds()
    for late in (await confirm(client, held.order_id), await cancel(client, held.order_id)):
        assert (late.code.name, late.told) == ("FAILED_PRECONDITION", "ORDER_STATE")
        assert late.blamed == {"order_id": held.order_id, "state": "EXPIRED"}
    assert (await placed(client, {name: 1})).state == CREATED


async def test_what_was_confirmed_never_expires(client: Client, name: str) -> None:
    await create_skus(client, [name], 2)
    confirmed, left = await placed(client, {name: 1}, 1.0), await placed(client, {name: 1}, 1.5)
    assert (await confirm(client, confirmed.order_id)).told == ACCEPTED
    await until_expired(client, left.order_id)
    assert (await get(client, confirmed.order_id)).state == CONFIRMED


async def test_every_order_that_has_units_can_be_cancelled(client: Client, name: str) -> None:
    await create_skus(client, [name], 3)
    held, confirmed = await placed(client, {name: 1}, LONG_S), await placed(client, {name: 1}, LONG_S)
    await confirm(client, confirmed.order_id)
    for each in (held, confirmed, await placed(client, {name: 1})):
        assert (await cancel(client, each.order_id)).response.order.state == CANCELLED
    stock = (await quiet_stock(client, [name]))[name]
    assert (stock.available, stock.sold) == (3, 0)
    late = await confirm(client, held.order_id)
    assert (late.told, late.blamed["state"]) == ("ORDER_STATE", "CANCELLED")


async def test_an_order_that_was_never_held_needs_no_confirmation_and_says_so(client: Client, name: str) -> None:
    await create_skus(client, [name], 1)
    plain = await placed(client, {name: 1})
    refused = await confirm(client, plain.order_id)
    assert (refused.told, refused.blamed["state"]) == ("ORDER_STATE", "CREATED")
    assert await get(client, plain.order_id) == plain


async def test_an_order_that_does_not_exist(client: Client) -> None:
    order_id = new_order_id()
    for reply in (await cancel(client, order_id), await confirm(client, order_id)):
        assert (reply.code.name, reply.told, reply.blamed) == ("NOT_FOUND", "ORDER_NOT_FOUND", {"order_id": order_id})


async def test_the_hold_is_part_of_what_an_order_is(client: Client, name: str) -> None:
    await create_skus(client, [name], 9)
    request = order({name: 1}, hold_s=LONG_S)
    first = await ask(client.place_order, request)
    again = await ask(client.place_order, request)
    assert again.response == orders_pb2.PlaceOrderResponse(order=first.response.order, replayed=True)
    for other in (order({name: 1}), order({name: 1}, hold_s=LONG_S + 1)):
        other.order_id = request.order_id
        assert (await ask(client.place_order, other)).told == "ORDER_ID_REUSED"
    await cancel(client, request.order_id)
    ended = await ask(client.place_order, request)
    assert (ended.response.replayed, ended.response.order.state) == (True, CANCELLED)


async def test_orders_on_a_stream_may_be_held_beside_others(client: Client, name: str) -> None:
    await create_skus(client, [name], 20)
    requests = [order({name: 1}, hold_s=LONG_S if number % 2 else None) for number in range(10)]
    results = await send_batches(client, [requests])
    assert {result.outcome for result in results} == {orders_pb2.OUTCOME_ACCEPTED}
    found = [await get(client, request.order_id) for request in requests]
    assert [each.state for each in found] == [CREATED, HELD] * 5
    assert [each.HasField("hold_end_time") for each in found] == [False, True] * 5


async def test_of_all_that_ends_a_hold_exactly_one_counts(clients: list[Client], name: str, gateway: Embedded) -> None:
    """200 carts, each confirmed, cancelled and about to expire at the same time, from eight connections."""
    skus = [f"{name}-{number}" for number in range(3)]
    units = 600
    await create_skus(clients[0], skus, units)
    rng = random.Random(5)
    requests = [order({sku: rng.randint(1, 3) for sku in rng.sample(skus, 2)}, hold_s=1.0) for _ in range(200)]
    assert told(await place_all(clients, requests)) == {ACCEPTED: 200}

    async def end(request: orders_pb2.PlaceOrderRequest) -> list[Reply]:
        await asyncio.sleep(rng.uniform(0.0, 1.8))
        doing: list[Any] = [confirm, cancel, confirm, cancel]
        rng.shuffle(doing)
        return await asyncio.gather(*(does(rng.choice(clients), request.order_id) for does in doing))

    replies = [reply for of_one in await asyncio.gather(*(end(each) for each in requests)) for reply in of_one]
    assert {reply.told for reply in replies} <= {ACCEPTED, "ORDER_STATE"}
    for request in requests:
        final = await get(clients[0], request.order_id)
        assert final.state in (CONFIRMED, CANCELLED, EXPIRED)
        if final.state == EXPIRED:
            assert final.version == 2
    states = Counter([(await get(clients[0], request.order_id)).state for request in requests])
    assert states[CANCELLED]
    assert states[EXPIRED]
    for sku, stock in (await quiet_stock(clients[0], skus)).items():
        assert stock.restocked == units, sku
    assert (await audit_files(gateway)).findings == []


async def test_holds_survive_a_crash_and_expire_after_it(own_gateway: Embedded, name: str) -> None:
    from tests.integration.buying import connected

    async with connected([own_gateway.endpoint]) as (client,):
        await create_skus(client, [name], 2)
        short, long = await placed(client, {name: 1}, 1.0), await placed(client, {name: 1}, LONG_S)
    own_gateway.process.kill()
    own_gateway.process.start()
    async with connected([own_gateway.endpoint]) as (client,):
        await until_expired(client, short.order_id)
        assert (await get(client, long.order_id)).state == HELD
        await placed(client, {name: 1})
        assert (await stock_of(client, name)).sold == 2
    own_gateway.process.kill()
    assert (await audit_files(own_gateway)).findings == []
