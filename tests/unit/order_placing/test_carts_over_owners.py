"""A cart over several stock servers gets all of its lines or none, and each line is reserved exactly once."""

import pytest

from gateway.outcomes import Reason
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Settlement
from tests.unit.order_placing.parts import Parts, is_new, order, reason
from tests.unit.virtual_time import in_virtual_time

NAMES = ("stockd-0", "stockd-1")


def _two_owners() -> tuple[Parts, str, str]:
    """Servers, and a SKU of each."""
    parts = Parts(NAMES)
    first, second = parts.sku_of("stockd-0"), parts.sku_of("stockd-1")
    parts.stock({first: 5, second: 5})
    return parts, first, second


@in_virtual_time
async def test_every_owner_is_asked_for_its_own_lines() -> None:
    parts, first, second = _two_owners()
    assert is_new(await parts.place_one(order(1, {first: 1, second: 2})))
    assert [batch.skus for batch in parts.keepers["stockd-0"].asked] == [[first]]
    assert [batch.skus for batch in parts.keepers["stockd-1"].asked] == [[second]]
    await parts.check_quiet()
    assert parts.keepers["stockd-0"].told == {1: {first: 1}}
    assert parts.keepers["stockd-1"].told == {1: {second: 2}}


@in_virtual_time
async def test_what_one_granted_is_committed_as_unsold_when_another_refuses() -> None:
    parts, first, second = _two_owners()
    parts.keepers["stockd-1"].units[second] = 0
    outcome = await parts.place_one(order(1, {first: 1, second: 1}))
    assert reason(outcome) is Reason.OUT_OF_STOCK
    await parts.check_quiet()
    assert parts.keepers["stockd-0"].told == {1: {}}
    assert parts.journal.orders == {}


@in_virtual_time
async def test_what_one_granted_is_committed_as_unsold_when_another_is_away() -> None:
    parts, first, second = _two_owners()
    parts.keepers["stockd-1"].away = True
    assert is_new(await parts.place_one(order(1, {first: 1, second: 1})))
    assert parts.keepers["stockd-0"].told[1] == {}
    await parts.check_quiet()
    assert parts.keepers["stockd-0"].told == {1: {}, 2: {first: 1, second: 1}}
    parts.close()


@in_virtual_time
@pytest.mark.parametrize("changing", NAMES)
async def test_each_line_is_reserved_once_though_liveness_changes_between_the_servers(changing: str) -> None:
    parts, first, second = _two_owners()
    asked = parts.keepers["stockd-0"].reserve

    async def answers_and_then(batch: ReserveBatch, settlements: list[Settlement], timeout_s: float) -> Reservation:
        reservation = await asked(batch, settlements, timeout_s)
        next(link for link in parts.links.links() if link.name == changing).mark_away("somebody else found it away")
        return reservation

    parts.keepers["stockd-0"].reserve = answers_and_then  # type: ignore[method-assign,assignment]
    outcome = await parts.place_one(order(1, {first: 1, second: 1}))
    assert is_new(outcome)
    await parts.check_quiet()
    assert parts.journal.sold_by_sku() == {first: 1, second: 1}
    parts.close()
