"""What is asked of a partition while its request is on the way shares the next one; each hears its own answer."""

import asyncio
from collections.abc import Coroutine, Sequence

import pytest

from sluice.errors import StoreUnreachable
from stockd.stores.rounds import MOST_PER_ROUND, PATIENCE_S, Rounds
from tests.unit.virtual_time import clock, in_virtual_time, let_run

ROUND_S = 0.01


class Store:
    """Answers after ROUND_S with what was asked, in capitals; `again` are those who are told to go again, once each."""

    def __init__(self) -> None:
        self.rounds: list[tuple[int, list[str]]] = []
        self.on_the_way: set[int] = set()
        self.again: list[str] = []
        self.failures: list[Exception] = []
        self.round_s = ROUND_S

    async def send(self, partition: int, asked: Sequence[str]) -> Sequence[str | None]:
        assert partition not in self.on_the_way, "one request at a time"
        self.rounds.append((partition, list(asked)))
        self.on_the_way.add(partition)
        try:
            await asyncio.sleep(self.round_s)
        finally:
            self.on_the_way.discard(partition)
        if self.failures:
            raise self.failures.pop(0)
        again = [each for each in asked if each in self.again]
        for each in again:
            self.again.remove(each)
        return [None if each in again else each.upper() for each in asked]

    def asked_of(self, partition: int) -> list[list[str]]:
        return [asked for number, asked in self.rounds if number == partition]


def started(*asking: Coroutine[None, None, str]) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(each) for each in asking]


@in_virtual_time
async def test_a_partition_that_nobody_asks_is_asked_at_once() -> None:
    store = Store()
    assert await Rounds(store.send).ask(1, "tea", "tea") == "TEA"
    assert clock() == pytest.approx(ROUND_S)


@in_virtual_time
async def test_what_is_asked_together_travels_together_and_what_comes_later_shares_the_next() -> None:
    store = Store()
    rounds = Rounds(store.send)
    first = started(*(rounds.ask(1, sku, sku) for sku in "abc"))
    await let_run()
    later = started(*(rounds.ask(1, sku, sku) for sku in "defg"))
    assert await asyncio.gather(*first, *later) == list("ABCDEFG")
    assert store.asked_of(1) == [list("abc"), list("defg")]


@in_virtual_time
async def test_partitions_do_not_wait_for_each_other() -> None:
    store = Store()
    rounds = Rounds(store.send)
    await asyncio.gather(*started(*(rounds.ask(number, "tea", "tea") for number in range(100))))
    assert clock() == pytest.approx(ROUND_S)


@in_virtual_time
async def test_a_round_has_a_bound_and_takes_those_who_came_first() -> None:
    store = Store()
    rounds = Rounds(store.send)
    skus = [f"sku-{number}" for number in range(2 * MOST_PER_ROUND + 1)]
    await asyncio.gather(*started(*(rounds.ask(1, sku, sku) for sku in skus)))
    assert store.asked_of(1) == [skus[:MOST_PER_ROUND], skus[MOST_PER_ROUND:-1], skus[-1:]]


@in_virtual_time
async def test_a_sku_is_in_a_round_once_and_in_order() -> None:
    store = Store()
    rounds = Rounds(store.send)
    asking = [("tea", "t1"), ("tea", "t2"), ("milk", "m1"), ("tea", "t3"), ("milk", "m2")]
    await asyncio.gather(*started(*(rounds.ask(1, sku, what) for sku, what in asking)))
    assert store.asked_of(1) == [["t1", "m1"], ["t2", "m2"], ["t3"]]


@in_virtual_time
async def test_who_was_held_up_by_others_goes_again_before_those_who_came_later() -> None:
    store = Store()
    store.again = ["b", "c"]
    rounds = Rounds(store.send)
    first = started(*(rounds.ask(1, sku, sku) for sku in "abc"))
    await let_run()
    later = started(*(rounds.ask(1, sku, sku) for sku in "de"), rounds.ask(1, "b", "b2"))
    assert await asyncio.gather(*first, *later) == ["A", "B", "C", "D", "E", "B2"]
    assert store.asked_of(1) == [["a", "b", "c"], ["b", "c", "d", "e"], ["b2"]]


@in_virtual_time
async def test_what_a_round_raises_all_of_it_hear_and_the_next_is_sent() -> None:
    store = Store()
    store.failures = [StoreUnreachable("cut", outcome_unknown=True)]
    rounds = Rounds(store.send)
    first = started(*(rounds.ask(1, sku, sku) for sku in "ab"))
    await let_run()
    later = started(rounds.ask(1, "c", "c"))
    heard = await asyncio.gather(*first, return_exceptions=True)
    assert [type(each) for each in heard] == [StoreUnreachable] * 2
    assert all(each.outcome_unknown for each in heard if isinstance(each, StoreUnreachable))
    assert heard[0] is not heard[1]
    assert await asyncio.gather(*later) == ["C"]


@in_virtual_time
async def test_a_failure_of_the_code_reaches_who_asked_and_the_partition_goes_on() -> None:
    store = Store()
    store.failures = [ZeroDivisionError()]
    rounds = Rounds(store.send)
    with pytest.raises(ZeroDivisionError):
        await rounds.ask(1, "a", "a")
    assert await rounds.ask(1, "a", "a") == "A"


@in_virtual_time
async def test_who_waited_long_for_a_request_that_nobody_answered_hears_that_nothing_was_sent() -> None:
    store = Store()
    store.round_s = 2 * PATIENCE_S
    store.failures = [StoreUnreachable("cut", outcome_unknown=True)]
    rounds = Rounds(store.send)
    (first,) = started(rounds.ask(1, "a", "a"))
    await asyncio.sleep(0.5 * PATIENCE_S)
    (long,) = started(rounds.ask(1, "b", "b"))
    await asyncio.sleep(PATIENCE_S)
    (short,) = started(rounds.ask(1, "c", "c"))
    with pytest.raises(StoreUnreachable):
        await first
    with pytest.raises(StoreUnreachable) as heard:
        await long
    assert not heard.value.outcome_unknown
    assert await short == "C"
    assert store.asked_of(1) == [["a"], ["c"]]


@in_virtual_time
async def test_while_answers_come_who_waits_waits_for_its_turn() -> None:
    store = Store()
    store.round_s = PATIENCE_S
    rounds = Rounds(store.send)
    times = 5
    assert await asyncio.gather(*started(*(rounds.ask(1, "tea", f"t{turn}") for turn in range(times)))) == [
        f"T{turn}" for turn in range(times)
    ]


@in_virtual_time
async def test_who_leaves_before_its_round_is_not_in_it() -> None:
    store = Store()
    rounds = Rounds(store.send)
    first = started(rounds.ask(1, "a", "a"))
    await let_run()
    leaving, staying = started(rounds.ask(1, "b", "b"), rounds.ask(1, "c", "c"))
    await let_run()
    leaving.cancel()
    await asyncio.gather(*first, staying)
    assert store.asked_of(1) == [["a"], ["c"]]


@in_virtual_time
async def test_who_leaves_during_its_round_changes_nothing_for_the_others() -> None:
    store = Store()
    store.again = ["b"]
    rounds = Rounds(store.send)
    staying, leaving = started(rounds.ask(1, "a", "a"), rounds.ask(1, "b", "b"))
    await let_run()
    leaving.cancel()
    assert await staying == "A"
    assert await rounds.ask(1, "c", "c") == "C"
    assert store.asked_of(1) == [["a", "b"], ["c"]]
