"""Who watches an order hears of every turn it takes until it is final, across restarts, up to a limit of watches."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sluice._gen.orders.v1 import orders_pb2
from sluice.client.order_ids import new_order_id
from sluice.model import OrderState
from sluice.rpc.failure import reason_of
from tests.integration.buying import Client, ask, connected, create_skus, order, until
from tests.integration.embedded.conftest import Embedded, make_embedded

MAX_WATCHES = 3


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Embedded]:
    """With few watches and every check."""
    embedded = make_embedded(
        tmp_path,
        *("--max-watches", str(MAX_WATCHES)),
        *("--consumers", "lifecycle", "--lifecycle-share", "1", "--check-max-order-units", "5"),
    )
    embedded.process.start()
    try:
        yield embedded
    finally:
        embedded.process.kill()


async def place(client: Client, sku: str, units: int = 1, hold_s: float | None = None) -> str:
    request = order({sku: units}, hold_s=hold_s)
    await client.place_order(request, timeout=10)
    return request.order_id


async def states(watch: Any) -> list[tuple[int, OrderState, str]]:
    return [(each.order.version, OrderState(each.order.state), each.order.reason) async for each in watch]


async def reason_of_end(watch: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in watch:
            pass
    return caught.value.code(), reason_of(caught.value)


async def test_a_held_order_from_its_hold_to_its_confirmation(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    order_id = await place(clients[0], name, hold_s=60)
    watch = aiter(clients[0].watch_order(order_id))
    first = await anext(watch)
    assert (first.order.version, first.order.state) == (1, OrderState.HELD)
    confirmed = await ask(clients[1].confirm_order, orders_pb2.ConfirmOrderRequest(order_id=order_id))
    assert await states(watch) == [(2, OrderState.CONFIRMED, "")]
    assert await states(clients[1].watch_order(order_id)) == [(2, OrderState.CONFIRMED, "")]
    assert await states(clients[1].watch_order(order_id, after_version=2)) == []
    assert [each.order async for each in clients[1].watch_order(order_id)] == [confirmed.response.order]


async def test_a_hold_that_nobody_confirms(clients: list[Client], name: str) -> None:
    await create_skus(clients[0], [name], 10)
    order_id = await place(clients[0], name, hold_s=1)
    assert await states(clients[0].watch_order(order_id)) == [
        (1, OrderState.HELD, ""),
        (2, OrderState.EXPIRED, "HOLD_EXPIRED"),
    ]


async def test_an_order_that_nobody_placed(clients: list[Client]) -> None:
    ended = await reason_of_end(clients[0].watch_order(new_order_id()))
    assert ended == (grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")


async def test_the_checks_that_run_after_acceptance(own: Embedded) -> None:
    async with connected([own.endpoint]) as (client,):
        await create_skus(client, ["tea"], 100)
        good, bad = await place(client, "tea"), await place(client, "tea", units=6)
        told = await states(client.watch_order(good, after_version=1))
        assert told[-1] == (3, OrderState.CONFIRMED, "")
        told = await states(client.watch_order(bad, after_version=1))
        assert told == [(2, OrderState.CANCELLED, "TOO_MANY_UNITS")]


async def test_one_watch_too_many_waits_for_a_place(own: Embedded) -> None:
    async with connected([own.endpoint]) as (client,):
        await create_skus(client, ["tea"], 100)
        order_id = await place(client, "tea", hold_s=60)
        watches = [client.watch_order(order_id) for _ in range(MAX_WATCHES)]
        for watch in watches:
            assert (await watch.read()).order.state == OrderState.HELD  # so it is open
        ended = await reason_of_end(client.watch_order(order_id))
        assert ended == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")

        watches[0].cancel()

        async def has_a_place() -> bool:
            return await reason_of_first(client.watch_order(order_id)) == ""

        await until("the server hears of the cancellation", has_a_place)


async def reason_of_first(watch: Any) -> str:
    try:
        await watch.read()
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    watch.cancel()
    return ""


async def test_a_gateway_that_stops_sends_its_watchers_to_another(own: Embedded) -> None:
    async with connected([own.endpoint]) as (client,):
        await create_skus(client, ["tea"], 100)
        order_id = await place(client, "tea", hold_s=60)
        watch = aiter(client.watch_order(order_id))
        assert (await anext(watch)).order.version == 1
        assert own.process.identity is not None
        os.kill(own.process.identity.pid, signal.SIGTERM)
        assert await reason_of_end(watch) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        await asyncio.to_thread(own.process.terminate)
    await asyncio.to_thread(own.process.start)
    async with connected([own.endpoint]) as (client,):
        watch = client.watch_order(order_id, after_version=1)
        await ask(client.cancel_order, orders_pb2.CancelOrderRequest(order_id=order_id))
        assert await states(watch) == [(2, OrderState.CANCELLED, "CLIENT")]


async def test_the_command_goes_on_after_a_restart(own: Embedded) -> None:
    async with connected([own.endpoint]) as (client,):
        await create_skus(client, ["tea"], 100)
        order_id = await place(client, "tea", hold_s=60)
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "commands.main", "order", "watch", order_id, "--json", "--endpoint", own.endpoint),
        stdout=asyncio.subprocess.PIPE,
    )
    assert watching.stdout is not None
    held = json.loads(await watching.stdout.readline())
    await asyncio.to_thread(own.process.kill)
    await asyncio.to_thread(own.process.start)
    async with connected([own.endpoint]) as (client,):
        await ask(client.confirm_order, orders_pb2.ConfirmOrderRequest(order_id=order_id))
    confirmed = json.loads(await watching.stdout.readline())
    assert [each["order"]["state"] for each in (held, confirmed)] == ["ORDER_STATE_HELD", "ORDER_STATE_CONFIRMED"]
    assert (await watching.stdout.read()).strip() == b""
    assert await watching.wait() == 0


async def test_the_command_says_which_order_is_not_there(own: Embedded) -> None:
    order_id = new_order_id()
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "commands.main", "order", "watch", order_id, "--endpoint", own.endpoint),
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await watching.communicate()
    assert f"NOT_FOUND / ORDER_NOT_FOUND: there is no order {order_id}" in error.decode()
    assert watching.returncode == 1
