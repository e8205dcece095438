"""Units that nobody has can be taken out of stock, while a sale runs too: none is sold and withdrawn at once."""

import asyncio
from uuid import uuid4

import grpc
import pytest

from commands.burst import ACCEPTED, Clients, new_orders
from sluice._gen.stock.v1 import stock_pb2
from sluice.client import Client, FewerAvailable, SkuNotFound, SoldByCounting, StockPolicy, WithdrawalIdReused
from tests.integration.buying import FEWER_AVAILABLE, OUT_OF_STOCK, ask, connected, quiet_stock
from tests.integration.embedded.conftest import Embedded, audit_files

UNITS, ORDERS, WITHDRAWALS, EACH = 600, 800, 60, 5


async def test_all_are_withdrawn_or_none_and_once(gateway: Embedded, name: str) -> None:
    async with Client(gateway.endpoint) as client:
        await client.create_sku(name, 10)
        withdrawal = uuid4()
        for _ in range(2):
            await client.withdraw(name, 4, withdrawal_id=withdrawal)
        with pytest.raises(WithdrawalIdReused):
            await client.withdraw(name, 3, withdrawal_id=withdrawal)
        with pytest.raises(FewerAvailable) as fewer:
            await client.withdraw(name, 7)
        assert (fewer.value.sku, fewer.value.available) == (name, 6)
        stock = await client.stock(name)
        assert (stock.restocked, stock.available, stock.sold) == (6, 6, 0)
        await client.withdraw(name, 6)
        assert (await client.stock(name)).restocked == 0
        await client.restock(name, 1)
        await client.place(name, customer="ada")


async def test_a_delivery_and_a_withdrawal_cannot_have_one_id(gateway: Embedded, name: str) -> None:
    async with Client(gateway.endpoint) as client:
        await client.create_sku(name, 10)
        known = uuid4()
        await client.restock(name, 4, restock_id=known)
        with pytest.raises(WithdrawalIdReused):
            await client.withdraw(name, 4, withdrawal_id=known)
        assert (await client.stock(name)).restocked == 14


async def test_who_cannot_withdraw_hears_why(gateway: Embedded, name: str) -> None:
    async with Client(gateway.endpoint) as client:
        with pytest.raises(SkuNotFound):
            await client.withdraw(name, 1)
        await client.create_sku(name, 10, policy=StockPolicy.COUNTER)
        with pytest.raises(SoldByCounting):
            await client.withdraw(name, 1)
    async with connected([gateway.endpoint]) as (raw,):
        request = stock_pb2.WithdrawRequest(sku=name, withdrawal_id=str(uuid4()), units=1)
        reply = await ask(raw.withdraw, request)
        assert (reply.code, reply.told) == (grpc.StatusCode.FAILED_PRECONDITION, "COUNTER_SKU")


async def test_each_unit_is_sold_or_withdrawn_and_not_both(gateway: Embedded, name: str) -> None:
    buyers = Clients([gateway.endpoint], 8)
    async with connected([gateway.endpoint]) as (client,):
        try:
            await buyers.connect()
            await buyers.create_skus([name], UNITS)
            burst, *replies = await asyncio.gather(
                buyers.place_all(new_orders(ORDERS, [name])),
                *(
                    ask(client.withdraw, stock_pb2.WithdrawRequest(sku=name, withdrawal_id=str(uuid4()), units=EACH))
                    for _ in range(WITHDRAWALS)
                ),
            )
        finally:
            await buyers.close()
        assert {reply.told for reply in replies} <= {ACCEPTED, FEWER_AVAILABLE}
        withdrawn = EACH * sum(reply.told == ACCEPTED for reply in replies)
        told = burst.told()
        assert told.keys() <= {ACCEPTED, OUT_OF_STOCK}
        stock = (await quiet_stock(client, [name]))[name]
    assert (stock.restocked, stock.sold) == (UNITS - withdrawn, told[ACCEPTED])
    assert stock.available + stock.sold == stock.restocked
    if told[OUT_OF_STOCK]:
        assert stock.available == 0
    assert (await audit_files(gateway)).findings == []
