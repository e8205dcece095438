"""Units are withdrawn through two gateways while three stock servers sell: none is sold and withdrawn at once."""

import asyncio
from uuid import uuid4

from commands.burst import ACCEPTED, Clients, new_orders
from deploy.local.cluster import Cluster
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.buying import FEWER_AVAILABLE, OUT_OF_STOCK, Client, ask, create_skus, quiet_stock
from tests.integration.cluster.conftest import audit_whole

RUNS, UNITS, ORDERS, WITHDRAWALS, EACH = 5, 600, 800, 20, 20


async def test_each_unit_is_sold_or_withdrawn_and_not_both(running: Cluster, clients: list[Client], name: str) -> None:
    skus = [f"{name}-{run}" for run in range(RUNS)]
    wanted = {sku: [withdrawal_of(sku) for _ in range(WITHDRAWALS)] for sku in skus}
    sold: dict[str, int] = {}
    buyers = Clients(running.endpoints.gateways, 8)
    try:
        await buyers.connect()
        await create_skus(clients[0], skus, UNITS)
        for sku in skus:
            burst, *_ = await asyncio.gather(
                buyers.place_all(new_orders(ORDERS, [sku])),
                withdraw(clients[0], wanted[sku][::2]),
                withdraw(clients[1], wanted[sku][1::2]),
            )
            told = burst.told()
            assert told.keys() <= {ACCEPTED, OUT_OF_STOCK}
            sold[sku] = told[ACCEPTED]
    finally:
        await buyers.close()
    await quiet_stock(clients[0], skus)
    # Asked once more, now that nobody sells: of one that was not answered this tells what became of it.
    told_at_last = {sku: await withdraw(clients[0], wanted[sku]) for sku in skus}
    assert {told for of_sku in told_at_last.values() for told in of_sku} <= {ACCEPTED, FEWER_AVAILABLE}
    for sku, stock in (await quiet_stock(clients[0], skus)).items():
        assert (stock.restocked, stock.sold) == (UNITS - EACH * told_at_last[sku].count(ACCEPTED), sold[sku])
        assert stock.available + stock.sold == stock.restocked
    assert (await audit_whole(running)).findings == []


def withdrawal_of(sku: str) -> stock_pb2.WithdrawRequest:
    return stock_pb2.WithdrawRequest(sku=sku, withdrawal_id=str(uuid4()), units=EACH)


async def withdraw(client: Client, requests: list[stock_pb2.WithdrawRequest]) -> list[str]:
    return [(await ask(client.withdraw, request)).told for request in requests]
