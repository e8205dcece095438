"""The time that orders wait for stock servers, and that they wait for the journal, can be told apart."""

from gateway.outcomes import Reason
from tests.unit.order_placing.parts import Parts, is_new, order, reason
from tests.unit.virtual_time import in_virtual_time


def waits(parts: Parts, what: str) -> float | None:
    return parts.registry.get_sample_value(f"sluice_gateway_{what}_seconds_count")


@in_virtual_time
async def test_a_group_that_is_accepted_waits_for_both() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    assert is_new(await parts.place_one(order(1)))
    assert (waits(parts, "reserve"), waits(parts, "commit")) == (1, 1)


@in_virtual_time
async def test_one_that_is_sold_out_is_not_committed() -> None:
    parts = Parts()
    parts.stock({"a": 0})
    assert reason(await parts.place_one(order(1))) is Reason.OUT_OF_STOCK
    assert (waits(parts, "reserve"), waits(parts, "commit")) == (1, 0)


@in_virtual_time
async def test_who_is_refused_by_a_journal_that_is_away_waited_for_it() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    parts.journal.away = True
    assert reason(await parts.place_one(order(1))) is Reason.JOURNAL_UNREACHABLE
    assert (waits(parts, "reserve"), waits(parts, "commit")) == (1, 1)
