"""Clients may ask for any name: names that no SKU has are refused and forgotten."""

from tests.unit.stock_engine.parts import GRANTED, LEDGER_UNREACHABLE, SKU_NOT_FOUND, Parts
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_unknown_names_do_not_stay_in_memory() -> None:
    parts = Parts()
    for number in range(100):
        reservation = await parts.reserve({f"unknown-{number}": 1})
        assert reservation.verdicts == [SKU_NOT_FOUND]
    await let_run()
    assert len(parts.engine._escrows) == 0


@in_virtual_time
async def test_names_that_cannot_be_looked_up_do_not_stay_in_memory() -> None:
    parts = Parts()
    parts.store.away = True
    for number in range(100):
        reservation = await parts.reserve({f"unknown-{number}": 1})
        assert reservation.verdicts == [LEDGER_UNREACHABLE]
    await let_run()
    assert len(parts.engine._escrows) == 0


@in_virtual_time
async def test_a_sku_that_is_created_later_is_found() -> None:
    parts = Parts()
    assert (await parts.reserve({"a": 1})).verdicts == [SKU_NOT_FOUND]
    parts.store.create("a", 1)
    assert (await parts.reserve({"a": 1})).verdicts == [GRANTED]
