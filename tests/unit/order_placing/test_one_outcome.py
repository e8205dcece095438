"""Every order gets exactly one outcome, and the same order again gets the first answer again."""

from gateway.outcomes import Reason
from sluice.trace_context import TraceContext
from tests.unit.fake_journal import standing
from tests.unit.order_placing.parts import Parts, is_new, is_replay, order, reason
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_a_batch_is_answered_order_by_order() -> None:
    parts = Parts()
    parts.stock({"a": 2})
    outcomes = await parts.place(order(1), order(2), order(3), order(4, {"nothing": 1}))
    assert [is_new(outcome) for outcome in outcomes.values()] == [True, True, False, False]
    assert [reason(outcome) for outcome in outcomes.values()][2:] == [Reason.OUT_OF_STOCK, Reason.SKU_NOT_FOUND]
    await parts.check_quiet()


@in_virtual_time
async def test_a_repeat_in_the_same_batch_follows_the_first() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    first, repeat = parts.submit(order(1), order(1))
    assert is_new((await first.decided())[0])
    assert is_replay((await repeat.decided())[0])
    await parts.check_quiet()
    assert parts.journal.sold_by_sku() == {"a": 1}


@in_virtual_time
async def test_a_repeat_in_flight_follows_the_first() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    parts.journal.answering.clear()
    (first,) = parts.submit(order(1))
    await let_run()
    (repeat,) = parts.submit(order(1))
    await let_run()
    assert repeat.outcomes is None
    parts.journal.answering.set()
    assert is_new((await first.decided())[0])
    assert is_replay((await repeat.decided())[0])
    await parts.check_quiet()


@in_virtual_time
async def test_a_repeat_in_flight_from_another_span_is_the_same_order() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    spans = [TraceContext(f"00-{'4b' * 16}-{number:016x}-01") for number in (1, 2)]
    first, repeat = parts.submit(*(order(1)._replace(trace=span) for span in spans))
    assert is_new((await first.decided())[0])
    assert is_replay((await repeat.decided())[0])


@in_virtual_time
async def test_another_content_in_flight_is_a_reused_id() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    first, other = parts.submit(order(1), order(1, {"a": 2}))
    assert is_new((await first.decided())[0])
    assert reason((await other.decided())[0]) is Reason.ORDER_ID_REUSED


@in_virtual_time
async def test_another_content_is_decided_by_itself_when_the_first_was_refused() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    first, other = parts.submit(order(1, {"a": 6}), order(1, {"a": 2}))
    assert reason((await first.decided())[0]) is Reason.OUT_OF_STOCK
    assert is_new((await other.decided())[0])
    await parts.check_quiet()


@in_virtual_time
async def test_an_order_that_stands_is_replayed_and_its_units_are_not_sold_again() -> None:
    parts = Parts()
    parts.stock({"a": 5})
    assert is_new(await parts.place_one(order(1)))
    assert is_replay(await parts.place_one(order(1)))
    assert reason(await parts.place_one(order(1, customer="berta"))) is Reason.ORDER_ID_REUSED
    await parts.check_quiet()
    assert parts.journal.sold_by_sku() == {"a": 1}


@in_virtual_time
async def test_an_order_that_stands_is_replayed_though_the_stock_is_gone() -> None:
    parts = Parts()
    parts.stock({"a": 0})
    parts.journal.orders[order(1).order_id] = standing(order(1))
    outcomes = await parts.place(order(1), order(2))
    assert is_replay(outcomes[order(1).order_id])
    assert reason(outcomes[order(2).order_id]) is Reason.OUT_OF_STOCK
    assert reason(await parts.place_one(order(1, {"a": 3}))) is Reason.ORDER_ID_REUSED


@in_virtual_time
async def test_nobody_hears_out_of_stock_while_it_cannot_be_known_whether_the_order_stands() -> None:
    parts = Parts()
    parts.stock({"a": 0})
    parts.journal.away = True
    assert reason(await parts.place_one(order(1))) is Reason.JOURNAL_UNREACHABLE
