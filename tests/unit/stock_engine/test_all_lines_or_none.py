"""An order is granted all of its lines or none, and what a refused cart would have had goes to others or back."""

from tests.unit.stock_engine.parts import GRANTED, OUT_OF_STOCK, SKU_NOT_FOUND, Parts
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_a_cart_with_one_line_that_cannot_be_had_keeps_nothing() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.create("b", 1)
    reservation = await parts.reserve({"a": 2, "b": 2})
    assert (reservation.verdicts, reservation.blamed, reservation.seq) == ([OUT_OF_STOCK], [1], 0)
    await let_run()
    parts.check_quiet()


@in_virtual_time
async def test_a_cart_with_an_unknown_sku_is_refused_for_it_and_keeps_nothing() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    reservation = await parts.reserve({"a": 2, "unknown": 1})
    assert (reservation.verdicts, reservation.blamed) == ([SKU_NOT_FOUND], [1])
    await let_run()
    parts.check_quiet()


@in_virtual_time
async def test_a_cart_that_can_be_had_holds_every_line() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.create("b", 5)
    reservation = await parts.reserve({"a": 2, "b": 3})
    assert (reservation.verdicts, reservation.blamed, reservation.seq) == ([GRANTED], [], 1)
    assert (parts.held("a"), parts.held("b"), parts.engine.units_in_doubt()) == (2, 3, 5)


@in_virtual_time
async def test_the_units_of_a_refused_cart_serve_the_next_in_line() -> None:
    parts = Parts()
    parts.store.create("a", 1)
    parts.store.create("b", 0)
    reservation = await parts.reserve({"a": 1, "b": 1}, {"a": 1})
    assert reservation.verdicts == [OUT_OF_STOCK, GRANTED]
