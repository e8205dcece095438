"""1,000 orders at once on 300 units, over two gateways and three stock servers: exactly 300, time after time."""

from commands.burst import ACCEPTED, Clients, new_orders
from deploy.local.cluster import Cluster
from tests.integration.buying import OUT_OF_STOCK, connected, quiet_stock
from tests.integration.cluster.conftest import audit_whole

RUNS = 20
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
