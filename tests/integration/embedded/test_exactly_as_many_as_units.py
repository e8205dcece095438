"""1,000 orders at once on 300 units of one embedded gateway: exactly 300, time after time."""

from commands.burst import ACCEPTED, Clients, new_orders
from tests.integration.buying import OUT_OF_STOCK, connected, quiet_stock
from tests.integration.embedded.conftest import Embedded, audit_files

RUNS = 20
ORDERS = 1_000
UNITS = 300


async def test_exactly_as_many_orders_are_accepted_as_there_are_units(gateway: Embedded, name: str) -> None:
    skus = [f"{name}-{run}" for run in range(RUNS)]
    buyers = Clients([gateway.endpoint], 8)
    try:
        await buyers.connect()
        await buyers.create_skus(skus, UNITS)
        for sku in skus:
            burst = await buyers.place_all(new_orders(ORDERS, [sku]))
            assert burst.told() == {ACCEPTED: UNITS, OUT_OF_STOCK: ORDERS - UNITS}
    finally:
        await buyers.close()

    async with connected([gateway.endpoint]) as (client,):
        for sku, stock in (await quiet_stock(client, skus)).items():
            assert (stock.sold, stock.available) == (UNITS, 0), sku
    report = await audit_files(gateway)
    assert report.findings == []
    assert report.orders == RUNS * UNITS
