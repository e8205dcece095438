"""Takes orders into the queue: batches are appended as they form, and an order is accepted when the queue has it.

What becomes of it is decided by whoever reads the queue, and stands in the journal from then on. Until then the journal
knows nothing of it: this gateway remembers what it has queued lately, and any gateway finds an order at the position
that its buyer was told.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from gateway.committing import answer_for_existing
from gateway.metrics import GatewayMetrics
from gateway.outcomes import RETRY_WHEN_AWAY_S, Outcome, Queued, Reason, Refused
from journal.protocol import Journals
from sluice.coalescer import Coalescer
from sluice.errors import JournalUnreachable, LogUnreachable, Overloaded
from sluice.model import NewOrder, Order, OrderState, QueuePosition, same_request
from sluice.order_requests import OrderRequest
from sluice.reachability import Reachability
from sluice.seams.request_log import QueuedOrder, RequestLog

MAX_ORDERS_PER_APPEND = 5_000
"""As many as one message of a stream brings."""

APPENDS_IN_FLIGHT = 2
"""One is being looked up and sent while the other one waits for its acknowledgement."""

REMEMBERED_ORDERS = 20_000
"""Queued here lately: at about 600 bytes each 12 MB. Whoever asks for an older one gives its position."""

LOOKUP_LIMIT_S = 0.4
APPEND_LIMIT_S = 1.4
"""Together below the 2 s within which every caller hears something."""

_log = structlog.get_logger(__name__)

QueueOutcome = Outcome | Queued

_UNREACHABLE = Refused(Reason.QUEUE_UNREACHABLE, "", RETRY_WHEN_AWAY_S)


class _Asked(NamedTuple):
    orders: Sequence[NewOrder]
    outcomes: asyncio.Future[list[QueueOutcome]]


class Queueing:
    def __init__(
        self,
        log: RequestLog,
        reachability: Reachability,
        journal: Journals,
        journal_reachability: Reachability,
        *,
        now: Callable[[], datetime],
        max_orders_in_flight: int,
        metrics: GatewayMetrics,
    ) -> None:
        self._log = log
        self._reachability = reachability
        self._journal = journal
        self._journal_reachability = journal_reachability
        self._now = now
        self._metrics = metrics
        self._remembered: OrderedDict[str, QueuedOrder] = OrderedDict()
        self._coalescer: Coalescer[_Asked] = Coalescer(
            self._queue_all,
            weigh=lambda asked: len(asked.orders),
            max_batch_weight=MAX_ORDERS_PER_APPEND,
            max_in_flight=APPENDS_IN_FLIGHT,
            max_queued_weight=max_orders_in_flight,
        )

    async def queue(self, orders: Sequence[NewOrder]) -> list[QueueOutcome]:
        """One outcome for each. A caller that is cancelled while it waits for its turn queues nothing."""
        if self._reachability.away:
            return self._refused(len(orders), _UNREACHABLE)
        asked = _Asked(orders, asyncio.get_running_loop().create_future())
        try:
            self._coalescer.submit(asked)
        except Overloaded as error:
            return self._refused(len(orders), Refused(Reason.OVERLOADED, "", error.retry_after_s))
        return await asked.outcomes

    async def find(self, order_id: str, position: QueuePosition | None) -> Order | None:
        """An order that was queued here lately, or that stands at `position`, as PENDING: whether it is decided the
        journal knows, and is asked first. Raises LogUnreachable.
        """
        queued = self._remembered.get(order_id)
        if queued is None:
            if position is not None and self._reachability.away:
                raise LogUnreachable("the queue does not answer")
            queued = await self._log.find(order_id, position)
        return None if queued is None else pending_order(queued.request.order, _answer_again(queued))

    async def idle(self) -> None:
        await self._coalescer.idle()

    def _refused(self, orders: int, refused: Refused) -> list[QueueOutcome]:
        self._metrics.refused(refused.reason, orders)
        return [refused] * orders

    async def _queue_all(self, asked: list[_Asked]) -> None:
        waiting = [each for each in asked if not each.outcomes.done()]
        try:
            outcomes = await self._queue_batch([order for each in waiting for order in each.orders])
        except LogUnreachable as error:
            self._reachability.mark_away(str(error))
            for each in (*waiting, *self._coalescer.drain_queue()):
                _answer(each, self._refused(len(each.orders), _UNREACHABLE))
        except Exception:  # noqa: BLE001 - whatever happens, every caller must be answered
            _log.exception("queueing failed")
            for each in waiting:
                _answer(each, self._refused(len(each.orders), Refused(Reason.INTERNAL)))
        else:
            first = 0
            for each in waiting:
                _answer(each, outcomes[first : first + len(each.orders)])
                first += len(each.orders)

    async def _queue_batch(self, orders: Sequence[NewOrder]) -> list[QueueOutcome]:
        """Orders that are known are answered by what is known of them. The others are appended, each id once."""
        standing = await self._standing([order.order_id for order in orders])
        time = self._now()
        known: dict[str, QueuedOrder] = {}
        new: dict[str, OrderRequest] = {}
        for order in orders:
            if (remembered := self._remembered.get(order.order_id)) is not None:
                known[order.order_id] = remembered
            elif order.order_id not in standing:
                new.setdefault(order.order_id, OrderRequest(order, time))
        requests = list(new.values())
        positions = await self._append(requests)
        appended = {
            request.order.order_id: QueuedOrder(request, position)
            for request, position in zip(requests, positions, strict=True)
        }
        self._remember(appended)
        self._metrics.queued(len(appended))
        outcomes: list[QueueOutcome] = []
        for order in orders:
            if (stored := standing.get(order.order_id)) is not None:
                outcomes.append(answer_for_existing(order, stored))
            elif (queued := appended.pop(order.order_id, None)) is not None:
                known[order.order_id] = queued
                outcomes.append(Queued(queued.request.time, queued.position, replayed=False))
            else:
                queued = known[order.order_id]
                same = same_request(queued.request.order, order)
                outcomes.append(_answer_again(queued) if same else Refused(Reason.ORDER_ID_REUSED, order.order_id))
        return outcomes

    async def _standing(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        """Those that the journal knows, if it answers: queueing does not depend on it. An order that is decided and
        queued again does no harm, it is only answered PENDING once more.
        """
        if self._journal_reachability.away:
            return {}
        try:
            async with asyncio.timeout(LOOKUP_LIMIT_S):
                return await self._journal.find_orders(list(dict.fromkeys(order_ids)))
        except (JournalUnreachable, TimeoutError):
            return {}

    async def _append(self, requests: Sequence[OrderRequest]) -> Sequence[QueuePosition]:
        if not requests:
            return []
        try:
            with self._metrics.queue_append_seconds.time():
                async with asyncio.timeout(APPEND_LIMIT_S):
                    return await self._log.append(requests)
        except TimeoutError as error:
            raise LogUnreachable(f"no answer within {APPEND_LIMIT_S} s", outcome_unknown=True) from error

    def _remember(self, queued: Mapping[str, QueuedOrder]) -> None:
        self._remembered.update(queued)
        while len(self._remembered) > REMEMBERED_ORDERS:
            self._remembered.popitem(last=False)


def _answer_again(queued: QueuedOrder) -> Queued:
    return Queued(queued.request.time, queued.position, replayed=True)


def pending_order(order: NewOrder, queued: Queued) -> Order:
    """An order that is still in the queue. Its hold begins when it is decided."""
    time = queued.request_time
    return Order(
        order.order_id,
        order.customer_id,
        order.lines,
        OrderState.PENDING,
        time,
        time,
        0,
        priority=order.priority,
        queue_position=queued.position,
    )


def _answer(asked: _Asked, outcomes: list[QueueOutcome]) -> None:
    if not asked.outcomes.done():
        asked.outcomes.set_result(outcomes)


class _NoQueue:
    """The queue of a gateway that was told of none; see RequestLog."""

    async def append(self, requests: Sequence[OrderRequest]) -> Sequence[QueuePosition]:
        del requests
        raise LogUnreachable("this gateway has no queue")

    async def find(self, order_id: str, position: QueuePosition | None) -> QueuedOrder | None:
        del order_id, position
        return None

    async def ping(self) -> None:
        raise LogUnreachable("this gateway has no queue")

    async def close(self) -> None:
        """There is nothing to close."""


NO_QUEUE: RequestLog = _NoQueue()
