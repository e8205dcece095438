"""What is placed at the same time travels together, what comes while batches are under way collects, and a lone order
waits for nobody."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.client.answers import Line
from sluice.client.batches import EAGER_BATCHES, MAX_BATCH_BYTES, MAX_BATCH_ORDERS, MAX_BATCHES
from sluice.client.order_ids import new_order_id
from sluice.client.wire import encode_lines
from tests.unit.client.parts import (
    ACCEPTED,
    LONG_S,
    RETRY,
    FakeGateway,
    Result,
    ids,
    placing_at,
    submit,
)
from tests.unit.virtual_time import VirtualTimeLoop, in_virtual_time, let_run


@in_virtual_time
async def test_a_lone_order_leaves_at_once_and_no_stream_is_opened_without_one() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        await let_run()
        assert gateway.streams == []
        for number in range(3):
            answer = submit(placing)
            await let_run()
            assert gateway.sizes == [1] * (number + 1)
            gateway.stream.answer(gateway.batches[-1])
            assert await answer is False
    assert len(gateway.streams) == 1
    assert asyncio.get_running_loop().time() == 0


@in_virtual_time
async def test_orders_of_one_turn_travel_together_in_their_order() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        sent = [new_order_id() for _ in range(40)]
        for order_id in sent:
            submit(placing, order_id=order_id)
        await let_run()
        assert [ids(batch) for batch in gateway.batches] == [sent]


@in_virtual_time
async def test_few_batches_leave_small_the_others_full() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        for _ in range(EAGER_BATCHES + 3):
            submit(placing)
            await let_run()
        assert gateway.sizes == [1] * EAGER_BATCHES
        for _ in range(MAX_BATCHES * MAX_BATCH_ORDERS):
            submit(placing)
        await let_run()
        assert gateway.sizes == [1] * EAGER_BATCHES + [MAX_BATCH_ORDERS] * (MAX_BATCHES - EAGER_BATCHES)
        gateway.stream.answer(gateway.batches[0])
        await let_run()
        assert gateway.sizes[MAX_BATCHES:] == [MAX_BATCH_ORDERS]


@in_virtual_time
async def test_a_thousand_callers_are_shared_out_and_stay_so() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:

        async def caller() -> None:
            for _ in range(5):
                await submit(placing)

        callers = [asyncio.create_task(caller()) for _ in range(1_000)]
        for number in range(5 * EAGER_BATCHES):
            await let_run()
            gateway.stream.answer(gateway.batches[number])
        await asyncio.gather(*callers)
        assert gateway.sizes == [334, 334, 332] * 5


@in_virtual_time
async def test_a_batch_that_is_half_answered_is_still_under_way() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        answers = [submit(placing) for _ in range(4)]
        await let_run()
        (batch,) = gateway.batches
        results = [Result(order_id=order_id, outcome=ACCEPTED) for order_id in ids(batch)]
        gateway.stream.tell(batch, results[:2], done=False)
        await let_run()
        assert [answer.done() for answer in answers] == [True, True, False, False]
        gateway.stream.tell(batch, results[2:])
        assert await asyncio.gather(*answers) == [False] * 4


@in_virtual_time
async def test_an_id_that_is_placed_twice_travels_in_two_batches() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        order_id = new_order_id()
        answers = [submit(placing, order_id=order_id) for _ in range(2)]
        await let_run()
        assert gateway.sizes == [1, 1]
        gateway.stream.answer(gateway.batches[0])
        gateway.stream.answer(gateway.batches[1], replayed=True)
        assert await asyncio.gather(*answers) == [False, True]


@in_virtual_time
async def test_no_message_is_larger_than_the_server_takes() -> None:
    gateway = FakeGateway()
    async with placing_at(gateway) as placing:
        lines = tuple(Line("\U0001f600" * 120 + f"{number:08}", 1) for number in range(64))
        rest = encode_lines(lines)
        for _ in range(MAX_BATCH_ORDERS):
            placing.submit(new_order_id(), "ada", lines, rest, LONG_S)
        while sum(gateway.sizes) < MAX_BATCH_ORDERS:
            await let_run()
            for batch in gateway.stream.batches:
                assert batch.ByteSize() <= MAX_BATCH_BYTES + 16
                gateway.stream.answer(batch)
        assert len(gateway.batches) > 1


@given(
    st.lists(st.tuples(st.integers(1, 900), st.integers(0, 3), st.sampled_from(["all", "half", "again"])), max_size=12)
)
@settings(max_examples=60)
def test_every_order_is_decided_once_and_never_in_two_batches_at_a_time(bursts: list[tuple[int, int, str]]) -> None:
    async def scenario() -> None:
        gateway = FakeGateway()
        async with placing_at(gateway) as placing:
            answers = []
            under_way: dict[int, set[str]] = {}
            decided: set[str] = set()
            seen = 0

            def decide(how: str) -> None:
                nonlocal seen
                for batch in gateway.batches[seen:]:
                    under_way[batch.batch_id] = set(ids(batch))
                    assert not under_way[batch.batch_id] & decided
                    others = [each for number, each in under_way.items() if number != batch.batch_id]
                    assert not any(under_way[batch.batch_id] & other for other in others)
                    seen += 1
                    if how == "half" and len(under_way) < EAGER_BATCHES:
                        continue
                    outcome = RETRY if how == "again" else ACCEPTED
                    gateway.stream.answer(batch, outcome, "OVERLOADED" if how == "again" else "")
                    if outcome == ACCEPTED:
                        decided.update(under_way[batch.batch_id])
                    del under_way[batch.batch_id]

            for orders, turns, how in bursts:
                answers += [submit(placing) for _ in range(orders)]
                await let_run(turns)
                if gateway.streams:
                    decide(how)
            while not all(answer.done() for answer in answers):
                await asyncio.sleep(0.05)
                for number in list(under_way):
                    batch = next(each for each in gateway.batches if each.batch_id == number)
                    gateway.stream.answer(batch)
                    decided.update(under_way.pop(number))
                decide("all")
            assert [answer.result() for answer in answers] == [False] * len(answers)
            assert len(decided) == len(answers)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())
