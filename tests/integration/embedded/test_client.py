"""The client library on a real gateway: a sale, every call, every error, a gateway that is killed, threads."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from itertools import islice
from uuid import uuid4

import pytest

from sluice._gen.stock.v1 import stock_pb2
from sluice.client import (
    CallFailed,
    Client,
    Consistency,
    CustomerLimit,
    InvalidCall,
    InvalidOrder,
    Order,
    OrderIdReused,
    OrderNotFound,
    OrderState,
    OutOfStock,
    Placed,
    RestockIdReused,
    SkuExists,
    SkuNotFound,
    StockPolicy,
    Unavailable,
    WrongState,
    new_order_id,
    sync,
)
from tests.integration.buying import connected
from tests.integration.embedded.conftest import Embedded, audit_files

LONG_S = 60.0
"""The machine that runs the tests is busy."""

UNITS = 300
BUYERS = 1_000


async def buy(client: Client, sku: str, customer: str) -> Placed | OutOfStock:
    try:
        return await client.place(sku, customer=customer)
    except OutOfStock as error:
        return error


async def test_a_thousand_coroutines_get_exactly_the_units_there_are(gateway: Embedded, name: str) -> None:
    async with Client(gateway.endpoint, timeout_s=LONG_S) as client:
        await client.create_sku(name, UNITS)
        answers = await asyncio.gather(*(buy(client, name, f"buyer-{number}") for number in range(BUYERS)))
        placed = {answer.order_id for answer in answers if isinstance(answer, Placed)}
        refused = {answer.order_id for answer in answers if isinstance(answer, OutOfStock)}
        assert (len(placed), len(refused), len(placed & refused)) == (UNITS, BUYERS - UNITS, 0)
        assert {answer.sku for answer in answers if isinstance(answer, OutOfStock)} == {name}
        assert (await client.stock(name, consistency=Consistency.STRONG)).sold == UNITS
    report = await audit_files(gateway)
    assert report.findings == []


async def test_an_order_from_its_placing_to_its_end(gateway: Embedded, name: str) -> None:
    sku = f"{name}-b"
    async with Client(gateway.endpoint, timeout_s=LONG_S) as client:
        await client.create_sku(name, 5, policy=StockPolicy.EXACT)
        await client.create_sku(sku, 5)
        order_id = uuid4()
        placed = await client.place_order(
            {sku: 2, name: 1}, customer="ada", order_id=order_id, hold=timedelta(minutes=5)
        )
        assert (placed.order_id, placed.replayed) == (str(order_id), False)
        again = await client.place_order(
            {name: 1, sku: 2}, customer="ada", order_id=str(order_id).upper(), hold=timedelta(minutes=5)
        )
        assert again.replayed

        held = await client.get(order_id)
        assert (held.state, held.version, held.customer) == (OrderState.HELD, 1, "ada")
        assert held.hold_end == held.create_time + timedelta(minutes=5)
        assert dict(held.lines) == {sku: 2, name: 1}
        confirmed = await client.confirm(order_id)
        assert confirmed.state == OrderState.CONFIRMED
        assert await client.confirm(order_id) == confirmed
        cancelled = await client.cancel(order_id)
        assert (cancelled.state, cancelled.reason) == (OrderState.CANCELLED, "CLIENT")
        with pytest.raises(WrongState) as told:
            await client.confirm(order_id)
        assert (told.value.order_id, told.value.state) == (str(order_id), "CANCELLED")

        await client.restock(name, 7)
        stock = await client.stock(name)
        assert (stock.policy, stock.restocked, stock.sold) == (StockPolicy.EXACT, 12, 0)
        assert stock.available + stock.escrow == 12


async def test_orders_are_listed_over_all_pages(gateway: Embedded, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.client.client.ORDERS_PER_PAGE", 7)
    async with Client(gateway.endpoint, timeout_s=LONG_S) as client:
        await client.create_sku(name, 100)
        placed = [await client.place(name, customer=name) for _ in range(20)]
        listed = [order.order_id async for order in client.list_orders(customer=name)]
        assert listed == [order.order_id for order in reversed(placed)]


async def test_what_is_refused_has_a_type_of_its_own(gateway: Embedded, name: str) -> None:
    missing = f"{name}-missing"
    async with Client(gateway.endpoint, timeout_s=LONG_S) as client, connected([gateway.endpoint]) as (raw,):
        await client.create_sku(name, 5)
        with pytest.raises(OutOfStock) as out_of_stock:
            await client.place(name, 6, customer="ada")
        assert (out_of_stock.value.sku, out_of_stock.value.in_doubt) == (name, False)
        with pytest.raises(SkuNotFound) as no_sku:
            await client.place_order({name: 1, missing: 1}, customer="ada")
        assert no_sku.value.sku == missing

        order_id = new_order_id()
        await client.place_order({name: 1}, customer="ada", order_id=order_id)
        with pytest.raises(OrderIdReused) as reused:
            await client.place_order({name: 1}, customer="bob", order_id=order_id)
        assert reused.value.order_id == order_id

        await raw.set_customer_limit(stock_pb2.SetCustomerLimitRequest(sku=name, units=1))
        await client.place(name, customer="cyd")
        with pytest.raises(CustomerLimit) as limit:
            await client.place(name, customer="cyd")
        assert limit.value.sku == name

        with pytest.raises(InvalidOrder) as invalid:
            await client.place(name, 0, customer="")
        assert {violation.field for violation in invalid.value.violations} == {"customer_id", "lines[0].quantity"}
        for quantity in (-1, 2**32):
            with pytest.raises(InvalidOrder):
                await client.place(name, quantity, customer="ada")
        with pytest.raises(InvalidOrder):
            await client.place_order({name: 1}, customer="ada", order_id="not a UUID")

        for call in (client.get, client.cancel, client.confirm):
            unknown = new_order_id()
            with pytest.raises(OrderNotFound) as not_found:
                await call(unknown)
            assert not_found.value.order_id == unknown
        with pytest.raises(OrderNotFound):
            await anext(client.watch(new_order_id()))
        with pytest.raises(SkuNotFound):
            await client.stock(missing)
        with pytest.raises(SkuExists):
            await client.create_sku(name, 6)
        delivery = uuid4()
        await client.restock(name, 1, restock_id=delivery)
        with pytest.raises(RestockIdReused):
            await client.restock(name, 2, restock_id=delivery)
        with pytest.raises(InvalidCall) as invalid_call:
            await client.restock(name, 0)
        assert [violation.field for violation in invalid_call.value.violations] == ["units"]


async def test_a_queued_order_is_pending_until_it_is_decided(gateway: Embedded, name: str) -> None:
    async with Client(gateway.endpoint, timeout_s=LONG_S) as client:
        await client.create_sku(name, 1)
        for state, reason in ((OrderState.CREATED, ""), (OrderState.REJECTED, "OUT_OF_STOCK")):
            order_id = new_order_id()
            queued = await client.queue_order({name: 1}, customer="ada", order_id=order_id, priority=3)
            assert (queued.order_id, queued.state, queued.version) == (order_id, OrderState.PENDING, 0)
            assert queued.queue_position is not None
            watching = client.watch(order_id, queue_position=queued.queue_position)
            async with aclosing(watching):
                turns = [turn async for turn in watching_until_decided(watching)]
            assert (turns[-1].state, turns[-1].reason, turns[-1].queue_position) == (state, reason, None)
            stands = await client.get(order_id, queue_position=queued.queue_position)
            assert (stands.state, stands.priority) == (state, 3)
        with pytest.raises(OutOfStock) as again:
            await client.queue_order({name: 1}, customer="ada", order_id=order_id, priority=3)
        assert (again.value.sku, again.value.order_id) == (name, order_id)
        with pytest.raises(OrderIdReused):
            await client.place_order({name: 1}, customer="ada", order_id=order_id, priority=4)
        with pytest.raises(InvalidOrder) as invalid:
            await client.queue_order({name: 1}, customer="", priority=1_001)
        assert {violation.field for violation in invalid.value.violations} == {"customer_id", "priority"}
        with pytest.raises(InvalidOrder):
            await client.queue_order({name: -1}, customer="ada")


async def watching_until_decided(orders: AsyncIterator[Order]) -> AsyncIterator[Order]:
    async for order in orders:
        yield order
        if order.state != OrderState.PENDING:
            return


async def test_stock_is_watched_and_skus_are_listed_over_all_pages(
    gateway: Embedded, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.client.client.SKUS_PER_PAGE", 2)
    mine = [f"{name}-{number}" for number in range(5)]
    async with Client(gateway.endpoint, timeout_s=LONG_S) as client:
        for number, sku in enumerate(mine):
            await client.create_sku(sku, number, policy=StockPolicy.EXACT)
        listed = {summary.sku: summary async for summary in client.list_skus() if summary.sku in mine}
        assert [listed[sku].available for sku in mine] == [0, 1, 2, 3, 4]
        assert {summary.policy for summary in listed.values()} == {StockPolicy.EXACT}
        async with aclosing(client.watch_stock(mine[4])) as stocks:
            assert (await anext(stocks)).sold == 0
            await client.place(mine[4], 3, customer="ada", priority=7)
            async for stock in stocks:
                if stock.sold == 3:
                    break
        with pytest.raises(SkuNotFound):
            await anext(client.watch_stock(f"{name}-missing"))


async def test_a_server_that_is_something_else_is_told_as_that() -> None:
    """No Sluice at all: a gRPC server without these services."""
    import grpc

    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", timeout_s=LONG_S) as client:
            with pytest.raises(CallFailed, match="UNIMPLEMENTED"):
                await client.place("mug", customer="ada")
            with pytest.raises(CallFailed, match="UNIMPLEMENTED"):
                await client.get(new_order_id())
    finally:
        await server.stop(0)


async def test_nobody_there_is_told_at_the_deadline() -> None:
    async with Client("127.0.0.1:1", timeout_s=1.0) as client:
        with pytest.raises(Unavailable) as placing:
            await client.place("mug", customer="ada")
        assert (placing.value.reason, placing.value.outcome_unknown) == ("UNREACHABLE", False)
        with pytest.raises(Unavailable, match="UNREACHABLE"):
            await client.get(new_order_id())


async def test_every_order_is_decided_once_when_the_gateway_is_killed_in_the_middle(own_gateway: Embedded) -> None:
    answered = 0
    fifth = asyncio.Event()
    skus = ("apple", "pear", "plum")

    async def buyer(client: Client, number: int) -> list[Placed | OutOfStock]:
        nonlocal answered
        answers = []
        for _ in range(3):
            answers.append(await buy(client, skus[number % 3], f"buyer-{number}"))
            answered += 1
            if answered >= 3 * BUYERS // 5:
                fifth.set()
        return answers

    async def kill_and_start() -> None:
        await fifth.wait()
        assert answered < 3 * BUYERS, "the sale was over before anything was broken"
        await asyncio.to_thread(own_gateway.process.kill)
        await asyncio.to_thread(own_gateway.process.start)

    async with Client(own_gateway.endpoint, timeout_s=LONG_S) as client:
        for sku in skus:
            await client.create_sku(sku, 2 * UNITS)
        watched = await client.place(skus[0], customer="watcher")
        async with aclosing(client.watch(watched.order_id)) as watching:
            assert (await anext(watching)).state == OrderState.CREATED
            *answers, _ = await asyncio.gather(*(buyer(client, number) for number in range(BUYERS)), kill_and_start())
            await client.cancel(watched.order_id)
            last = await anext(watching)
            assert (last.version, last.state) == (2, OrderState.CANCELLED)
            assert [order async for order in watching] == []

        told = [answer for own in answers if own is not None for answer in own]
        placed = [answer.order_id for answer in told if isinstance(answer, Placed)]
        assert len({answer.order_id for answer in told}) == len(told) == 3 * BUYERS
        listed = [order.order_id async for order in client.list_orders()]
        assert Counter(listed) == Counter([*placed, watched.order_id])
        for sku in skus:
            stock = await client.stock(sku, consistency=Consistency.STRONG)
            assert stock.sold == sum(answer.lines[0].sku == sku for answer in told if isinstance(answer, Placed))
    assert (await audit_files(own_gateway)).findings == []


def test_threads_share_a_synchronous_client(gateway: Embedded, name: str) -> None:
    with sync.Client(gateway.endpoint, timeout_s=LONG_S) as client, ThreadPoolExecutor(8) as threads:
        client.create_sku(name, 100)

        def buy_some(thread: int) -> list[str]:
            bought = []
            for _ in range(25):
                try:
                    bought.append(client.place(name, customer=f"{name}-{thread}").order_id)
                except OutOfStock:
                    bought.append("")
            return bought

        answers = [answer for answers in threads.map(buy_some, range(8)) for answer in answers]
        assert len(answers) == 200
        bought = [answer for answer in answers if answer]
        assert len(set(bought)) == len(bought) == 100
        assert client.stock(name).sold == 100

        mine = [order.order_id for number in range(8) for order in client.list_orders(customer=f"{name}-{number}")]
        assert sorted(mine) == sorted(bought)
        held = client.get(bought[0])
        assert client.cancel(held.order_id).state == OrderState.CANCELLED
        assert [order.state for order in islice(client.watch(held.order_id), 5)] == [OrderState.CANCELLED]
