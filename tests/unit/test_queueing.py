"""A gateway takes orders into the queue in batches, answers each, and knows what it has taken."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from gateway.metrics import GatewayMetrics
from gateway.outcomes import Accepted, Queued, Reason, Refused
from gateway.queueing import APPEND_LIMIT_S, NO_QUEUE, REMEMBERED_ORDERS, Queueing
from sluice.errors import LogUnreachable
from sluice.model import Line, NewOrder, OrderState, QueuePosition
from sluice.order_requests import OrderRequest
from sluice.reachability import Reachability
from sluice.seams.request_log import QueuedOrder, RequestLog
from tests.unit.fake_journal import FakeJournal, standing
from tests.unit.virtual_time import clock, in_virtual_time, let_run

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def wants(number: int, units: int = 1) -> NewOrder:
    return NewOrder(str(UUID(int=number)), "anna", (Line("tea", units),))


class Log:
    """Keeps what it is given; `answering` is cleared while it hangs."""

    def __init__(self) -> None:
        self.appends: list[list[str]] = []
        self.queued: list[QueuedOrder] = []
        self.away = False
        self.answering = asyncio.Event()
        self.answering.set()

    async def append(self, requests: Sequence[OrderRequest]) -> Sequence[QueuePosition]:
        await self.answering.wait()
        if self.away:
            raise LogUnreachable("away")
        first = len(self.queued)
        self.queued += [QueuedOrder(each, QueuePosition(0, first + n)) for n, each in enumerate(requests)]
        self.appends.append([each.order.order_id for each in requests])
        return [each.position for each in self.queued[first:]]

    async def find(self, order_id: str, position: QueuePosition | None) -> QueuedOrder | None:
        return next(
            (each for each in self.queued if each.position == position and each.request.order.order_id == order_id),
            None,
        )

    async def ping(self) -> None:
        if self.away:
            raise LogUnreachable("away")

    async def close(self) -> None: ...


class Gateway:
    def __init__(self, log: RequestLog) -> None:
        self.journal = FakeJournal()
        self.journal_reach = Reachability("journal", self.journal.ping)
        self.reach = Reachability("queue", log.ping)
        self.queueing = Queueing(
            log,
            self.reach,
            self.journal,  # type: ignore[arg-type]
            self.journal_reach,
            now=lambda: NOW,
            max_orders_in_flight=100_000,
            metrics=GatewayMetrics(CollectorRegistry()),
        )


@in_virtual_time
async def test_orders_that_come_together_are_appended_together_each_with_its_position() -> None:
    log = Log()
    queueing = Gateway(log).queueing
    answers = await asyncio.gather(*(queueing.queue([wants(number)]) for number in range(10)))
    assert len(log.appends) == 1
    assert [answer for (answer,) in answers] == [
        Queued(NOW, QueuePosition(0, number), replayed=False) for number in range(10)
    ]


@in_virtual_time
async def test_an_order_that_is_asked_for_again_stands_once() -> None:
    log = Log()
    queueing = Gateway(log).queueing
    first, again, other = await queueing.queue([wants(1), wants(1), wants(1, units=2)])
    assert (first, again) == (
        Queued(NOW, QueuePosition(0, 0), replayed=False),
        Queued(NOW, QueuePosition(0, 0), replayed=True),
    )
    assert other == Refused(Reason.ORDER_ID_REUSED, wants(1).order_id)
    assert await queueing.queue([wants(1)]) == [again]
    assert log.appends == [[wants(1).order_id]]


@in_virtual_time
async def test_what_the_journal_knows_is_answered_by_it() -> None:
    log = Log()
    gateway = Gateway(log)
    sold, rejected = wants(1), wants(2)
    gateway.journal.orders = {
        sold.order_id: standing(sold),
        rejected.order_id: standing(rejected)._replace(state=OrderState.REJECTED, reason="OUT_OF_STOCK"),
    }
    answers = await gateway.queueing.queue([sold, rejected, wants(1, units=5)])
    assert isinstance(answers[0], Accepted)
    assert answers[0].replayed
    assert answers[1:] == [Refused(Reason.OUT_OF_STOCK, "tea"), Refused(Reason.ORDER_ID_REUSED, sold.order_id)]
    assert log.appends == []


@in_virtual_time
async def test_a_journal_that_is_away_or_hangs_does_not_keep_orders_out() -> None:
    gateway = Gateway(Log())
    gateway.journal.answering.clear()
    (answer,) = await gateway.queueing.queue([wants(1)])
    assert isinstance(answer, Queued)
    assert clock() < 1.0
    gateway.journal.answering.set()
    gateway.journal.away = True
    (answer,) = await gateway.queueing.queue([wants(2)])
    assert isinstance(answer, Queued)


@in_virtual_time
async def test_a_queue_that_is_away_or_hangs_is_told_in_time_and_then_at_once() -> None:
    log = Log()
    gateway = Gateway(log)
    log.answering.clear()
    waiting = [asyncio.ensure_future(gateway.queueing.queue([wants(number)])) for number in range(5)]
    await let_run()
    waiting += [asyncio.ensure_future(gateway.queueing.queue([wants(number)])) for number in range(5, 10)]
    answers = [answer for each in waiting for answer in await each]
    assert {answer.reason for answer in answers if isinstance(answer, Refused)} == {Reason.QUEUE_UNREACHABLE}
    assert len(answers) == 10
    assert clock() <= APPEND_LIMIT_S + 0.1
    before = clock()
    (answer,) = await gateway.queueing.queue([wants(1)])
    assert isinstance(answer, Refused)
    assert answer.retry_after_s
    assert clock() == before


@in_virtual_time
async def test_who_left_before_the_turn_of_the_order_has_queued_nothing() -> None:
    log = Log()
    queueing = Gateway(log).queueing
    log.answering.clear()
    first = [asyncio.ensure_future(queueing.queue([wants(number)])) for number in (1, 2)]
    await let_run()
    second = asyncio.ensure_future(queueing.queue([wants(3)]))
    third = asyncio.ensure_future(queueing.queue([wants(4)]))
    await asyncio.sleep(0)
    third.cancel()
    await asyncio.sleep(0)
    log.answering.set()
    await asyncio.gather(*first, second)
    assert wants(4).order_id not in [each for append in log.appends for each in append]


@in_virtual_time
async def test_an_order_is_found_by_this_gateway_or_by_its_position() -> None:
    log = Log()
    here, elsewhere = Gateway(log).queueing, Gateway(log).queueing
    await here.queue([wants(1)])
    pending = await here.find(wants(1).order_id, None)
    assert pending is not None
    assert (pending.state, pending.version, pending.queue_position) == (OrderState.PENDING, 0, QueuePosition(0, 0))
    assert (pending.customer_id, pending.lines) == (wants(1).customer_id, wants(1).lines)
    assert await elsewhere.find(wants(1).order_id, None) is None
    assert await elsewhere.find(wants(1).order_id, QueuePosition(0, 0)) == pending
    assert await elsewhere.find(wants(2).order_id, QueuePosition(0, 0)) is None


@in_virtual_time
async def test_what_is_remembered_is_bounded() -> None:
    queueing = Gateway(Log()).queueing
    for first in range(0, REMEMBERED_ORDERS + 5_000, 5_000):
        await queueing.queue([wants(number) for number in range(first, first + 5_000)])
    assert await queueing.find(wants(0).order_id, None) is None
    assert await queueing.find(wants(REMEMBERED_ORDERS).order_id, None) is not None


@in_virtual_time
async def test_a_gateway_without_a_queue_says_so() -> None:
    queueing = Gateway(NO_QUEUE).queueing
    (answer,) = await queueing.queue([wants(1)])
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.QUEUE_UNREACHABLE
    assert await queueing.find(wants(1).order_id, None) is None
    with pytest.raises(LogUnreachable):
        await queueing.find(wants(1).order_id, QueuePosition(0, 0))
