"""An order that is not decided is sent again under its id, when it was advised to be, until it is decided."""

import asyncio
from functools import partial
from itertools import pairwise

import pytest

from sluice.client.errors import CallFailed, OutOfStock, Unavailable
from sluice.client.order_stream import StreamEnded
from sluice.client.placing import SILENCE_S
from sluice.client.retrying import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_INTERNAL, pause_s
from tests.unit.client.parts import REJECTED, RETRY, FakeGateway, broken, ids, placing_at, submit, until
from tests.unit.virtual_time import in_virtual_time, let_run


@pytest.mark.parametrize("reason", ["OVERLOADED", "STOCK_UNREACHABLE", "JOURNAL_UNREACHABLE"])
@in_virtual_time
async def test_after_the_advised_time_and_then_at_longer_ones(reason: str) -> None:
    gateway = FakeGateway()
    loop = asyncio.get_running_loop()
    async with placing_at(gateway) as placing:
        answer = submit(placing)
        sent_at = []
        for attempt in range(6):
            await until(partial(gateway.sent, attempt + 1))
            sent_at.append(loop.time())
            gateway.stream.answer(gateway.batches[-1], RETRY, reason)
        pauses = [after - before for before, after in pairwise(sent_at)]
        first = FIRST_PAUSE_S[reason]
        for number, pause in enumerate(pauses):
            assert pause == pytest.approx(min(first * 2**number, LONGEST_PAUSE_S), abs=0.02)
        await until(partial(gateway.sent, 7))
        gateway.stream.answer(gateway.batches[-1])
        assert await answer is False
    assert len({tuple(ids(batch)) for batch in gateway.batches}) == 1


def test_pauses_differ_and_are_never_shorter_than_advised() -> None:
    for attempts in (1, 3, 50):
        assert pause_s("OVERLOADED", attempts, lambda: 0.0, 5.0) == 5.0
        assert pause_s("OVERLOADED", attempts, lambda: 1.0) == 1.5 * pause_s("OVERLOADED", attempts, lambda: 0.0)
        assert pause_s("SOMETHING_NEW", attempts, lambda: 0.0) <= LONGEST_PAUSE_S


@in_virtual_time
async def test_not_when_it_would_be_too_late() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answer = submit(placing, timeout_s=0.9)
        await let_run()
        gateway.stream.answer(gateway.batches[0], RETRY, "STOCK_UNREACHABLE")
        with pytest.raises(Unavailable) as told:
            await answer
        assert asyncio.get_running_loop().time() == 0, "it was known at once"
        assert (told.value.reason, told.value.order_id) == ("STOCK_UNREACHABLE", ids(gateway.batches[0])[0])
        assert told.value.outcome_unknown


@in_virtual_time
async def test_an_order_that_was_never_started_is_known_not_to_stand() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answer = submit(placing, timeout_s=0.05)
        await let_run()
        gateway.stream.answer(gateway.batches[0], RETRY, "OVERLOADED")
        with pytest.raises(Unavailable) as told:
            await answer
        assert not told.value.outcome_unknown


@in_virtual_time
async def test_a_defect_is_not_tried_for_ever() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answer = submit(placing)
        while not answer.done():
            await asyncio.sleep(0.05)
            if gateway.streams and len(gateway.batches) > 0:
                gateway.stream.answer(gateway.batches[-1], RETRY, "INTERNAL")
        with pytest.raises(Unavailable, match="INTERNAL"):
            await answer
        assert len(gateway.batches) == MAX_INTERNAL


@in_virtual_time
async def test_an_order_without_a_result_in_a_finished_batch_is_sent_again() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answer = submit(placing)
        await let_run()
        gateway.stream.tell(gateway.batches[0], [])
        await asyncio.sleep(1)
        gateway.stream.answer(gateway.batches[1])
        assert await answer is False


@in_virtual_time
async def test_everything_undecided_goes_over_a_new_stream_in_its_order_before_what_came_later() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        first = [submit(placing) for _ in range(3)]
        await let_run()
        sent = ids(gateway.batches[0])
        gateway.stream.end(broken())
        await let_run()
        later = submit(placing)
        await until(partial(gateway.sent, 2))
        (batch,) = gateway.stream.batches
        assert ids(batch)[:3] == sent
        gateway.stream.answer(batch, replayed=True)
        assert await asyncio.gather(*first, later) == [True] * 4
        assert gateway.streams[0].cancelled


@in_virtual_time
async def test_a_gateway_that_is_away_is_asked_less_and_less_often_and_found_when_it_is_back() -> None:
    gateway = FakeGateway()
    gateway.broken = broken()
    async with placing_at(gateway) as placing:
        answer = submit(placing)
        await asyncio.sleep(10)
        pauses = [after - before for before, after in pairwise(gateway.opened_at)]
        assert pauses == sorted(pauses)
        assert pauses[0] < 0.2
        assert max(pauses) <= LONGEST_PAUSE_S + 0.01
        gateway.broken = None
        await asyncio.sleep(LONGEST_PAUSE_S + 0.01)
        gateway.stream.answer(gateway.batches[-1])
        assert await answer is False


@in_virtual_time
async def test_an_idle_client_does_not_connect_again() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answer = submit(placing)
        await let_run()
        gateway.stream.answer(gateway.batches[0])
        await answer
        gateway.stream.end(StreamEnded("STOPPED", graceful=True))
        await asyncio.sleep(60)
        assert len(gateway.streams) == 1
        submit(placing)
        await let_run()
        assert len(gateway.streams) == 2


@in_virtual_time
async def test_a_stream_that_says_nothing_is_given_up_and_an_idle_one_is_not() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answer = submit(placing)
        await let_run()
        gateway.stream.answer(gateway.batches[0])
        await answer
        await asyncio.sleep(10 * SILENCE_S)
        assert len(gateway.streams) == 1

        answer = submit(placing)
        sent_at = asyncio.get_running_loop().time()
        await until(lambda: len(gateway.streams) == 2)
        assert SILENCE_S - 1 <= asyncio.get_running_loop().time() - sent_at <= SILENCE_S + 2
        await until(partial(gateway.sent, 3))
        gateway.stream.answer(gateway.batches[-1], replayed=True)
        assert await answer is True


@in_virtual_time
async def test_a_refusal_after_a_broken_stream_says_that_it_is_in_doubt() -> None:
    gateway = FakeGateway()
    for graceful in (False, True):
        async with placing_at(gateway) as placing:
            answer = submit(placing)
            await let_run()
            sent = len(gateway.batches)
            gateway.stream.end(StreamEnded("UNREACHABLE", graceful=graceful))
            await until(partial(gateway.sent, sent + 1))
            gateway.stream.answer(gateway.stream.batches[0], REJECTED, "OUT_OF_STOCK")
            with pytest.raises(OutOfStock) as told:
                await answer
            assert told.value.in_doubt is not graceful


@in_virtual_time
async def test_a_stream_that_nobody_will_ever_get_is_told_at_once() -> None:
    gateway = FakeGateway()
    gateway.broken = StreamEnded("UNIMPLEMENTED", failure=lambda: CallFailed("UNIMPLEMENTED", "", "no such method"))
    async with placing_at(gateway) as placing:
        for _ in range(2):
            with pytest.raises(CallFailed, match="no such method"):
                await submit(placing)
