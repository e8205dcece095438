"""Who watches an order is told how it stands, and again when it has moved, whoever else watches and however slowly."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from gateway import watching
from gateway.metrics import GatewayMetrics
from gateway.watches import LOOK_INTERVAL_S, LOOK_SHARE, Stopping
from gateway.watching import NoSuchOrder, Watching
from sluice.errors import JournalUnreachable, Overloaded
from sluice.model import FINAL_STATES, Line, Order, OrderState, QueuePosition
from sluice.reachability import Reachability
from tests.unit.virtual_time import clock, in_virtual_time, let_run

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Journal:
    """Only what watching asks of it. `look_s`: how long each question takes."""

    def __init__(self, orders: int) -> None:
        self.orders = {each.order_id: each for each in map(_new_order, range(orders))}
        self.away = False
        self.look_s = 0.0
        self.first_looks: list[int] = []
        self.looks: list[int] = []

    def move(self, order_id: str, state: OrderState) -> None:
        order = self.orders[order_id]
        self.orders[order_id] = order._replace(state=state, version=order.version + 1)

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        self.first_looks.append(len(order_ids))
        await self._answer()
        return {each: self.orders[each] for each in order_ids if each in self.orders}

    async def find_newer(self, versions: Mapping[str, int]) -> Mapping[str, Order]:
        self.looks.append(len(versions))
        await self._answer()
        newer = [each for each, known in versions.items() if each in self.orders and self.orders[each].version > known]
        return {each: self.orders[each] for each in newer}

    async def ping(self) -> None:
        await self._answer()

    async def _answer(self) -> None:
        await asyncio.sleep(self.look_s)
        if self.away:
            raise JournalUnreachable("away")


def _new_order(number: int) -> Order:
    return Order(str(UUID(int=number)), "anna", (Line("teapot", 1),), OrderState.CREATED, NOW, NOW, 1)


def order_id(number: int) -> str:
    return str(UUID(int=number))


class Gateway:
    """Looks in the background; every reader notes what it is told."""

    def __init__(self, journal: Journal, max_watches: int = 1_000) -> None:
        reach = Reachability("journal", journal.ping)
        metrics = GatewayMetrics(CollectorRegistry())
        self.queued: dict[str, Order] = {}
        self.watching = Watching(journal, reach, self._find_queued, max_watches=max_watches, metrics=metrics)  # type: ignore[arg-type]
        self.background = [asyncio.ensure_future(work) for work in (self.watching.keep_looking(), reach.watch())]

    def read(self, number: int, after_version: int = 0) -> tuple[list[tuple[int, OrderState]], asyncio.Future[None]]:
        told: list[tuple[int, OrderState]] = []

        async def work() -> None:
            async with aclosing(self.watching.watch(order_id(number), after_version)) as orders:
                async for order in orders:
                    told.append((order.version, order.state))

        return told, asyncio.ensure_future(work())

    async def _find_queued(self, order_id: str, position: QueuePosition | None) -> Order | None:
        del position
        return self.queued.get(order_id)

    async def close(self) -> None:
        for task in self.background:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def read_one(orders: AsyncGenerator[Order, None]) -> OrderState:
    return (await anext(orders)).state


@in_virtual_time
async def test_each_state_until_the_final_one() -> None:
    journal = Journal(1)
    gateway = Gateway(journal)
    told, reading = gateway.read(0)
    for state in (OrderState.VALIDATED, OrderState.CONFIRMED):
        await asyncio.sleep(2 * LOOK_INTERVAL_S)
        journal.move(order_id(0), state)
    await reading
    assert told == [(1, OrderState.CREATED), (2, OrderState.VALIDATED), (3, OrderState.CONFIRMED)]
    assert gateway.watching.open_watches == 0
    await gateway.close()


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
@in_virtual_time
async def test_an_order_that_is_final_ends_its_watch_at_once(state: OrderState) -> None:
    journal = Journal(1)
    journal.move(order_id(0), state)
    gateway = Gateway(journal)
    told, reading = gateway.read(0)
    await reading
    assert told == [(2, state)]
    told, reading = gateway.read(0, after_version=2)
    await reading
    assert told == [], "told again what the client said it knew"
    assert clock() < LOOK_INTERVAL_S
    await gateway.close()


@pytest.mark.parametrize("after_version", [0, 1])
@in_virtual_time
async def test_an_order_in_the_queue_is_pending_until_it_is_decided(after_version: int) -> None:
    journal = Journal(1)
    rejected = journal.orders.pop(order_id(0))._replace(state=OrderState.REJECTED)
    gateway = Gateway(journal)
    gateway.queued[order_id(0)] = rejected._replace(state=OrderState.PENDING, version=0)
    told, reading = gateway.read(0, after_version)
    await asyncio.sleep(2 * LOOK_INTERVAL_S)
    journal.orders[order_id(0)] = rejected._replace(version=2)
    await reading
    assert told == ([(0, OrderState.PENDING)] if after_version == 0 else []) + [(2, OrderState.REJECTED)]
    await gateway.close()


@in_virtual_time
async def test_resumed_watches_are_told_only_what_is_newer() -> None:
    journal = Journal(1)
    gateway = Gateway(journal)
    told, reading = gateway.read(0, after_version=1)
    await asyncio.sleep(1)
    assert told == []
    journal.move(order_id(0), OrderState.CANCELLED)
    await reading
    assert told == [(2, OrderState.CANCELLED)]
    await gateway.close()


@in_virtual_time
async def test_all_watches_of_all_orders_are_one_question() -> None:
    journal = Journal(100)
    gateway = Gateway(journal)
    readers = [gateway.read(number % 100) for number in range(300)]
    await let_run()
    assert sum(journal.first_looks) <= 100, "three who watch one order were looked up apart"
    for number in range(100):
        journal.move(order_id(number), OrderState.CANCELLED)
    await asyncio.sleep(3 * LOOK_INTERVAL_S)
    assert all(reading.done() for _, reading in readers)
    assert {*journal.looks} == {100}
    assert len(journal.looks) <= 3
    await gateway.close()


@in_virtual_time
async def test_nobody_watches_nothing_is_asked() -> None:
    journal = Journal(1)
    gateway = Gateway(journal)
    await asyncio.sleep(60)
    assert journal.looks == []
    _, reading = gateway.read(0)
    await asyncio.sleep(10)
    reading.cancel()
    await asyncio.sleep(1)
    looks = len(journal.looks)
    assert looks
    assert gateway.watching.open_watches == 0
    await asyncio.sleep(60)
    assert len(journal.looks) == looks
    await gateway.close()


@in_virtual_time
async def test_very_many_orders_are_asked_in_pages_and_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_ORDERS_PER_LOOK", 40)
    journal = Journal(100)
    journal.look_s = 0.5
    gateway = Gateway(journal)
    readers = [reading for _, reading in (gateway.read(number) for number in range(100))]
    await asyncio.sleep(300)
    assert {*journal.looks} == {40, 20}
    looking_s = len(journal.looks) * journal.look_s
    assert looking_s == pytest.approx(300 * LOOK_SHARE, rel=0.15)
    for reading in readers:
        reading.cancel()
    await gateway.close()


@in_virtual_time
async def test_a_slow_reader_finds_the_latest_state_and_delays_nobody() -> None:
    journal = Journal(1)
    gateway = Gateway(journal)
    slow = gateway.watching.watch(order_id(0), 0)
    assert await read_one(slow) is OrderState.CREATED
    told, reading = gateway.read(0)
    for state in (OrderState.VALIDATED, OrderState.CONFIRMED):
        await asyncio.sleep(2 * LOOK_INTERVAL_S)
        journal.move(order_id(0), state)
    await reading
    assert [state for _, state in told] == [OrderState.CREATED, OrderState.VALIDATED, OrderState.CONFIRMED]
    assert await read_one(slow) is OrderState.CONFIRMED
    with pytest.raises(StopAsyncIteration):
        await anext(slow)
    await gateway.close()


@in_virtual_time
async def test_one_too_many_is_told_to_come_back_and_may_when_another_ends() -> None:
    journal = Journal(3)
    gateway = Gateway(journal, max_watches=2)
    _, first = gateway.read(0)
    _, second = gateway.read(0)
    await let_run()
    with pytest.raises(Overloaded):
        await read_one(gateway.watching.watch(order_id(1), 0))
    first.cancel()
    await let_run()
    third = gateway.watching.watch(order_id(1), 0)
    assert await read_one(third) is OrderState.CREATED
    await third.aclose()
    second.cancel()
    await gateway.close()


@in_virtual_time
async def test_an_order_that_does_not_stand_cannot_be_watched() -> None:
    gateway = Gateway(Journal(1))
    with pytest.raises(NoSuchOrder):
        await read_one(gateway.watching.watch(order_id(1), 0))
    assert gateway.watching.open_watches == 0
    await gateway.close()


@in_virtual_time
async def test_a_watch_outlasts_a_journal_that_is_away_and_does_not_begin_without_one() -> None:
    journal = Journal(2)
    gateway = Gateway(journal)
    told, reading = gateway.read(0)
    await asyncio.sleep(1)
    journal.away = True
    await asyncio.sleep(30)
    looks = len(journal.looks)
    with pytest.raises(JournalUnreachable):
        await read_one(gateway.watching.watch(order_id(1), 0))
    await asyncio.sleep(30)
    assert len(journal.looks) <= looks + 1, "a journal that is known to be away is asked"
    assert not reading.done()
    journal.away = False
    journal.move(order_id(0), OrderState.CANCELLED)
    await asyncio.sleep(2)
    assert reading.done()
    assert [state for _, state in told] == [OrderState.CREATED, OrderState.CANCELLED]
    await gateway.close()


@in_virtual_time
async def test_a_gateway_that_stops_ends_its_watches_and_begins_none() -> None:
    journal = Journal(2)
    gateway = Gateway(journal)
    _, waiting = gateway.read(0)
    slow = gateway.watching.watch(order_id(0), 0)
    await read_one(slow)
    journal.look_s = 1.0
    _, being_looked_up = gateway.read(1)
    await let_run()
    gateway.watching.stop()
    for ended in (waiting, being_looked_up, asyncio.ensure_future(read_one(slow)), gateway.read(1)[1]):
        with pytest.raises(Stopping):
            await ended
    await gateway.close()
