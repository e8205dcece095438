"""When the journal refuses a transaction of several batches, only those that caused it are mended; the rest stands."""

import asyncio

from gateway.outcomes import Reason
from gateway.placing import MAX_RESERVE_ATTEMPTS
from tests.unit.fake_journal import Fault, standing
from tests.unit.order_placing.parts import Parts, is_new, is_replay, order, reason
from tests.unit.virtual_time import in_virtual_time, let_run

NAMES = ("stockd-0", "stockd-1", "stockd-2", "stockd-3")


async def _merged(parts: Parts, *skus: str) -> "list[asyncio.Task[object]]":
    """One order per SKU, all waiting for the journal, to be committed in one transaction."""
    parts.journal.answering.clear()
    for number, name in ((900, "stockd-2"), (901, "stockd-3")):  # one for each connection, on ways of their own
        parts.submit(order(number, {parts.sku_of(name): 1}))
        await let_run()
    waiting = []
    for number, sku in enumerate(skus, start=1):
        waiting.append(asyncio.create_task(parts.place_one(order(number, {sku: 1}))))
        await let_run()
    return waiting  # type: ignore[return-value]


def _parts() -> tuple[Parts, str, str]:
    parts = Parts(NAMES)
    first, second = parts.sku_of("stockd-0"), parts.sku_of("stockd-1")
    parts.stock({parts.sku_of(name): 9 for name in NAMES})
    return parts, first, second


@in_virtual_time
async def test_orders_that_stand_are_replayed_and_the_others_are_committed() -> None:
    parts, first, second = _parts()
    waiting = await _merged(parts, first, second)
    parts.journal.orders[order(1).order_id] = standing(order(1, {first: 1}))
    parts.journal.committed.append(order(1).order_id)
    parts.journal.spends[parts.keepers["stockd-0"].incarnation, 99] = {first: 1}
    parts.keepers["stockd-0"].granted[99] = {first: 1}
    parts.journal.answering.set()
    outcomes = await asyncio.gather(*waiting)
    assert is_replay(outcomes[0])  # type: ignore[arg-type]
    assert is_new(outcomes[1])  # type: ignore[arg-type]
    assert max(len(batch.spends) for batch in parts.journal.commits) > 1
    await parts.check_quiet()


@in_virtual_time
async def test_a_void_reservation_is_reserved_again_and_the_others_are_committed() -> None:
    parts, first, second = _parts()
    waiting = await _merged(parts, first, second)
    void = (parts.keepers["stockd-0"].incarnation, parts.keepers["stockd-0"].seq)
    parts.journal.spends[void] = {}
    parts.journal.answering.set()
    outcomes = await asyncio.gather(*waiting)
    assert [is_new(outcome) for outcome in outcomes] == [True, True]  # type: ignore[arg-type]
    await parts.check_quiet()
    assert parts.journal.spends[void] == {}
    assert len(parts.keepers["stockd-1"].granted) <= 2


@in_virtual_time
async def test_a_fenced_incarnations_orders_go_to_the_next_and_the_others_are_committed() -> None:
    parts, first, second = _parts()
    waiting = await _merged(parts, first, second)
    parts.journal.registered[parts.keepers["stockd-0"].incarnation] = True
    parts.journal.answering.set()
    outcomes = await asyncio.gather(*waiting)
    assert [is_new(outcome) for outcome in outcomes] == [True, True]  # type: ignore[arg-type]
    await parts.check_quiet()
    assert parts.keepers["stockd-0"].told == {}
    parts.close()


@in_virtual_time
async def test_with_every_incarnation_fenced_the_attempts_are_bounded() -> None:
    parts, first, _ = _parts()
    for keeper in parts.keepers.values():
        parts.journal.registered[keeper.incarnation] = True
    assert reason(await parts.place_one(order(1, {first: 1}))) is Reason.STOCK_UNREACHABLE
    assert len(parts.journal.commits) == MAX_RESERVE_ATTEMPTS < len(parts.keepers)
    parts.close()


@in_virtual_time
async def test_a_commit_of_unknown_outcome_is_committed_once() -> None:
    for fault in (Fault.UNHEARD, Fault.LOST):
        parts = Parts()
        parts.stock({"a": 9})
        parts.journal.faults.append(fault)
        outcomes = await parts.place(order(1), order(2))
        assert not any(reason(outcome) for outcome in outcomes.values())
        await parts.check_quiet()
        assert parts.journal.sold_by_sku() == {"a": 2}
        assert parts.keepers["stockd-0"].told == {1: {"a": 2}}
