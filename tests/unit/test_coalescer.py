"""Every item is sent once and in order, in batches that are as large as what waits and no larger than the bounds."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.coalescer import Coalescer
from sluice.errors import Overloaded
from tests.unit.virtual_time import VirtualTimeLoop, in_virtual_time, let_run


class Sink:
    """Keeps each batch until it is let go."""

    def __init__(self, *, max_batch_weight: int = 10, max_in_flight: int = 1, max_queued_weight: int = 1_000) -> None:
        self.batches: list[list[int]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.open = asyncio.Event()
        self.coalescer: Coalescer[int] = Coalescer(
            self._send,
            weigh=lambda item: item,
            max_batch_weight=max_batch_weight,
            max_in_flight=max_in_flight,
            max_queued_weight=max_queued_weight,
        )

    async def _send(self, batch: list[int]) -> None:
        self.batches.append(batch)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await self.open.wait()
        self.in_flight -= 1


@given(
    st.lists(st.tuples(st.integers(1, 15), st.integers(0, 4)), max_size=40),
    st.integers(1, 3),
    st.integers(5, 60),
)
@settings(max_examples=150)
def test_nothing_is_lost_repeated_reordered_or_too_heavy(
    items: list[tuple[int, int]], max_in_flight: int, max_queued: int
) -> None:
    async def scenario() -> None:
        sink = Sink(max_in_flight=max_in_flight, max_queued_weight=max_queued)
        accepted = []
        for number, (item, turns) in enumerate(items):
            waiting = sink.coalescer.queued_weight
            try:
                sink.coalescer.submit(item)
                accepted.append(item)
            except Overloaded:
                assert waiting + item > max_queued
                assert sink.coalescer.queued_weight == waiting
            if number % 5 == 4:
                sink.open.set()
            await let_run(turns)
            sink.open.clear()
        sink.open.set()
        await sink.coalescer.idle()
        assert [item for batch in sink.batches for item in batch] == accepted
        assert all(sum(batch) <= 10 or len(batch) == 1 for batch in sink.batches)
        assert sink.most_in_flight <= max_in_flight
        assert sink.coalescer.queued_weight == 0

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scenario())


@in_virtual_time
async def test_what_arrives_in_one_turn_travels_together_at_once() -> None:
    sink = Sink()
    for _ in range(3):
        sink.coalescer.submit(1)
    await let_run(2)
    assert sink.batches == [[1, 1, 1]]


@in_virtual_time
async def test_what_arrives_while_a_batch_is_in_flight_travels_in_the_next() -> None:
    sink = Sink()
    for item in (1, 2, 3):
        sink.coalescer.submit(item)
        await let_run()
    assert sink.batches == [[1]]
    sink.open.set()
    await sink.coalescer.idle()
    assert sink.batches == [[1], [2, 3]]


@in_virtual_time
async def test_what_is_taken_back_is_not_sent() -> None:
    sink = Sink(max_queued_weight=5)
    for item in (1, 2, 3):
        sink.coalescer.submit(item)
        await let_run()
    assert sink.coalescer.drain_queue() == [2, 3]
    sink.coalescer.submit(5)
    sink.open.set()
    await sink.coalescer.idle()
    assert sink.batches == [[1], [5]]


@in_virtual_time
async def test_a_full_queue_says_when_to_come_back() -> None:
    sink = Sink(max_queued_weight=5)
    sink.coalescer.submit(1)
    await let_run()
    sink.coalescer.submit(5)
    with pytest.raises(Overloaded) as refused:
        sink.coalescer.submit(1)
    assert refused.value.retry_after_s > 0
    sink.open.set()
    await sink.coalescer.idle()


def gathering(batches: list[list[int]], pause_s: float) -> Coalescer[int]:
    """A batch takes `pause_s`; up to two at once, the second from a weight of 6 on; 3 ms to gather."""

    async def send(batch: list[int]) -> None:
        batches.append(batch)
        await asyncio.sleep(pause_s)

    return Coalescer(
        send,
        weigh=lambda item: item,
        max_batch_weight=100,
        max_in_flight=2,
        max_queued_weight=1_000,
        eager_batches=1,
        worth_weight=6,
        gather_s=0.003,
    )


@in_virtual_time
async def test_those_who_come_back_one_after_the_other_leave_together() -> None:
    batches: list[list[int]] = []
    coalescer = gathering(batches, pause_s=0.01)
    for _ in range(4):
        coalescer.submit(1)
    await coalescer.idle()
    for _ in range(4):
        coalescer.submit(1)
        await asyncio.sleep(0.0005)
    await coalescer.idle()
    assert [len(batch) for batch in batches] == [4, 4]


@in_virtual_time
async def test_a_lone_caller_never_waits_for_others() -> None:
    batches: list[list[int]] = []
    coalescer = gathering(batches, pause_s=0.01)
    for number in range(5):
        started = asyncio.get_running_loop().time()
        coalescer.submit(1)
        await let_run()
        assert len(batches) == number + 1
        assert asyncio.get_running_loop().time() == started
        await coalescer.idle()


@in_virtual_time
async def test_a_further_batch_leaves_only_if_it_is_worth_it() -> None:
    batches: list[list[int]] = []
    coalescer = gathering(batches, pause_s=0.01)
    coalescer.submit(1)
    await let_run()
    coalescer.submit(5)
    await let_run()
    assert batches == [[1]]
    coalescer.submit(1)
    await let_run()
    assert batches == [[1], [5, 1]]
    await coalescer.idle()
