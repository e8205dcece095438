"""With the journal away everybody hears it at once, and no stock server is told what nobody knows."""

import asyncio

from gateway.outcomes import Reason
from tests.unit.fake_journal import Fault
from tests.unit.order_placing.parts import Parts, is_replay, order, reason
from tests.unit.virtual_time import clock, in_virtual_time, let_run


@in_virtual_time
async def test_all_that_wait_are_told_at_once() -> None:
    parts = Parts()
    parts.stock({"a": 500})
    parts.journal.answering.clear()
    waiting = []
    for number in range(100):
        waiting.append(asyncio.create_task(parts.place_one(order(number))))
        await let_run(3)
    parts.journal.away = True
    parts.journal.answering.set()
    outcomes = await asyncio.gather(*waiting)
    assert {reason(outcome) for outcome in outcomes} == {Reason.JOURNAL_UNREACHABLE}
    assert clock() == 0
    await parts.check_quiet()
    assert parts.keepers["stockd-0"].told == {}


@in_virtual_time
async def test_while_it_is_known_to_be_away_nothing_is_reserved() -> None:
    parts = Parts()
    parts.stock({"a": 500})
    parts.reachability.mark_away("somebody found it away")
    assert reason(await parts.place_one(order(1))) is Reason.JOURNAL_UNREACHABLE
    assert parts.keepers["stockd-0"].asked == []
    assert parts.placing.orders_in_flight == 0


@in_virtual_time
async def test_nobody_is_told_of_a_reservation_whose_outcome_is_unknown() -> None:
    parts = Parts()
    parts.stock({"a": 500})
    parts.journal.faults.extend([Fault.UNHEARD, Fault.AWAY])
    assert reason(await parts.place_one(order(1))) is Reason.JOURNAL_UNREACHABLE
    await let_run()
    assert parts.keepers["stockd-0"].told == {}
    parts.reachability.away = False
    assert is_replay(await parts.place_one(order(1)))
    await parts.check_quiet()
