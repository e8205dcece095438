"""Deadlines, callers that are cancelled, too many callers, and a client that is closed."""

import asyncio

import pytest

from sluice.client.batches import EAGER_BATCHES
from sluice.client.errors import Unavailable
from sluice.client.order_ids import new_order_id
from tests.unit.client.parts import RETRY, FakeGateway, Result, broken, ids, placing_at, submit
from tests.unit.virtual_time import in_virtual_time, let_run


@in_virtual_time
async def test_every_caller_is_told_at_its_own_deadline() -> None:
    gateway = FakeGateway()
    loop = asyncio.get_running_loop()
    async with placing_at(gateway) as placing:
        told: dict[float, float] = {}

        async def caller(timeout_s: float) -> None:
            order_id = new_order_id()
            with pytest.raises(Unavailable) as error:
                await submit(placing, order_id=order_id, timeout_s=timeout_s)
            told[timeout_s] = loop.time()
            assert (error.value.reason, error.value.order_id) == ("DEADLINE", order_id)
            assert error.value.outcome_unknown

        await asyncio.gather(*(caller(limit) for limit in (3.0, 0.5, 1.0, 0.505, 20.0)))
        for limit, at in told.items():
            assert limit <= at <= limit + 0.02


@in_virtual_time
async def test_an_order_that_was_never_sent_is_known_not_to_stand() -> None:
    gateway = FakeGateway()
    gateway.broken = broken()
    async with placing_at(gateway) as placing:
        first = submit(placing, timeout_s=1)
        await asyncio.sleep(0.5)
        with pytest.raises(Unavailable) as told:
            await first
        assert told.value.reason == "UNREACHABLE"
    assert gateway.batches == []
    assert not told.value.outcome_unknown


@in_virtual_time
async def test_the_reason_heard_last_is_told_while_an_order_rests() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answer = submit(placing, timeout_s=1.2)
        await let_run()
        gateway.stream.answer(gateway.batches[0], RETRY, "JOURNAL_UNREACHABLE")
        await asyncio.sleep(1.1)
        assert len(gateway.batches) == 2
        with pytest.raises(Unavailable, match="DEADLINE"):
            await answer


@in_virtual_time
async def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        late = submit(placing, timeout_s=0.1)
        await asyncio.sleep(0.2)
        assert isinstance(late.exception(), Unavailable)
        gateway.stream.answer(gateway.batches[0])
        punctual = submit(placing)
        await let_run()
        gateway.stream.answer(gateway.batches[1])
        assert await punctual is False


@in_virtual_time
async def test_an_order_whose_caller_is_cancelled_before_it_is_sent_is_not_sent() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        kept_id, dropped_id = new_order_id(), new_order_id()
        kept = submit(placing, order_id=kept_id)
        submit(placing, order_id=dropped_id).cancel()
        await let_run()
        assert [ids(batch) for batch in gateway.batches] == [[kept_id]]
        gateway.stream.answer(gateway.batches[0])
        assert await kept is False


@in_virtual_time
async def test_an_order_whose_caller_is_cancelled_later_takes_its_place_until_it_is_decided() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway, max_undecided=1) as placing:
        answer = submit(placing)
        await let_run()
        answer.cancel()
        assert placing.full
        gateway.stream.answer(gateway.batches[0], RETRY, "OVERLOADED")
        await let_run()
        assert not placing.full, "nobody waits for it: it is not sent again"
        await asyncio.sleep(5)
        assert len(gateway.batches) == 1


@in_virtual_time
async def test_callers_beyond_the_bound_wait_their_turn() -> None:
    gateway = FakeGateway()
    bound = 10
    most = 0
    places: list[int] = []

    async with placing_at(gateway, max_undecided=bound) as placing:
        undecided = 0

        async def caller(number: int) -> None:
            nonlocal undecided, most
            if placing.full:
                await placing.until_room(f"order {number}", 1_000.0)
            answer = submit(placing)
            places.append(number)
            undecided += 1
            most = max(most, undecided)
            await answer
            undecided -= 1

        callers = [asyncio.create_task(caller(number)) for number in range(95)]
        answered = 0
        while not all(each.done() for each in callers):
            await let_run()
            for batch in gateway.batches[answered:]:
                gateway.stream.answer(batch)
                answered += 1
        await asyncio.gather(*callers)
    assert most == bound
    assert places == list(range(95))


@in_virtual_time
async def test_who_waits_for_a_place_is_told_at_the_deadline_and_others_still_get_theirs() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway, max_undecided=1) as placing:
        submit(placing)
        await let_run()
        hasty = asyncio.create_task(placing.until_room("hasty", 0.5))
        cancelled = asyncio.create_task(placing.until_room("cancelled", 100.0))
        patient = asyncio.create_task(placing.until_room("patient", 100.0))
        with pytest.raises(Unavailable) as told:
            await hasty
        assert (told.value.order_id, told.value.outcome_unknown) == ("hasty", False)
        gateway.stream.answer(gateway.batches[0])
        await asyncio.sleep(0)
        cancelled.cancel()
        await patient


@in_virtual_time
async def test_a_gateway_that_is_away_does_not_fill_the_client_with_orders_nobody_waits_for() -> None:
    gateway = FakeGateway()
    gateway.broken = broken()
    async with placing_at(gateway, max_undecided=5) as placing:
        for _ in range(3):
            answers = [submit(placing, timeout_s=1.0) for _ in range(5)]
            assert placing.full
            told = await asyncio.gather(*answers, return_exceptions=True)
            assert all(isinstance(each, Unavailable) for each in told)
            assert not placing.full


@in_virtual_time
async def test_closing_tells_everybody_who_waits() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway, max_undecided=EAGER_BATCHES + 2) as placing:
        resting, sent = submit(placing), submit(placing)
        await let_run()
        for _ in range(EAGER_BATCHES - 1):
            also_sent = submit(placing)
            await let_run()
        batch = gateway.batches[0]
        gateway.stream.tell(
            batch, [Result(order_id=batch.orders[0].order_id, outcome=RETRY, reason="OVERLOADED")], done=False
        )
        await let_run()
        waiting = submit(placing)
        without_place = asyncio.create_task(placing.until_room("without", 100.0))
        await asyncio.sleep(0)
    for answer, unknown in ((sent, True), (also_sent, True), (resting, False), (waiting, False)):
        error = answer.exception()
        assert isinstance(error, Unavailable)
        assert (error.reason, error.outcome_unknown) == ("CLOSED", unknown)
    await without_place
    with pytest.raises(Unavailable, match="CLOSED"):
        submit(placing)
