"""Settlements say once what the journal's row says, in whatever way and however often they come."""

from uuid import UUID

from sluice.seams.stock_keeper import Settlement
from tests.unit.stock_engine.parts import INCARNATION, Parts, batch_of
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_told_twice_counts_once() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    reservation = await parts.reserve({"a": 3})
    await parts.sell(reservation, {"a": 1})
    await parts.sell(reservation, {"a": 1})
    await let_run()
    assert parts.store.available("a") == 4
    parts.check_quiet()


@in_virtual_time
async def test_of_another_incarnation_it_is_ignored() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    reservation = await parts.reserve({"a": 3})
    await parts.engine.settle([Settlement(UUID(int=9), reservation.seq, {})], 1.0)
    assert parts.engine.units_in_doubt() == 3


@in_virtual_time
async def test_of_a_number_that_was_never_given_it_is_ignored() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    reservation = await parts.reserve({"a": 3})
    await parts.engine.settle([Settlement(INCARNATION, reservation.seq + 1, {})], 1.0)
    assert parts.engine.units_in_doubt() == 3


@in_virtual_time
async def test_it_may_ride_on_the_next_reserve() -> None:
    parts = Parts()
    parts.store.create("a", 3)
    reservation = await parts.reserve({"a": 3})
    settlement = Settlement(INCARNATION, reservation.seq, {"a": 1})
    parts.journal.spends[INCARNATION, reservation.seq] = {"a": 1}
    second = await parts.engine.reserve(batch_of([{"a": 2}]), [settlement], 5)
    assert second.seq == reservation.seq + 1
    assert (parts.held("a"), parts.engine.units_in_doubt()) == (3, 2)


@in_virtual_time
async def test_every_sku_of_the_reservation_is_settled() -> None:
    parts = Parts()
    parts.store.create("a", 5)
    parts.store.create("b", 5)
    reservation = await parts.reserve({"a": 1, "b": 2}, {"b": 1})
    await parts.sell(reservation, {"b": 1})
    await let_run()
    assert (parts.held("a"), parts.held("b")) == (0, 1)
    parts.check_quiet()
