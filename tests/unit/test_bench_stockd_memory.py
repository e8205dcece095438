"""`python -m bench.stockd_memory` fills an engine with what it says."""

from bench.stockd_memory import measure

SKUS = 1_200
RESERVATIONS = 30


async def test_every_sku_holds_units_and_every_reservation_is_open() -> None:
    figures = await measure(SKUS, RESERVATIONS)
    assert figures["units_held"] >= SKUS
    assert figures["open_reservations"] == RESERVATIONS
