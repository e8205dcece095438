"""Confirms and cancels orders for clients. Calls that wait together are read, moved and answered together.

Whoever was overtaken (an order was validated, confirmed or expired meanwhile) is judged again by where the order stands
now: of calls that contradict each other exactly one counts, and the others hear what stands.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from gateway.metrics import GatewayMetrics
from gateway.outcomes import RETRY_WHEN_AWAY_S, Reason, Refused
from journal.protocol import Journal, Transition
from orders.moving import MAX_ORDERS_PER_MOVE, Owners, move_orders
from sluice.coalescer import Coalescer
from sluice.errors import JournalUnreachable, KeeperUnreachable, Overloaded
from sluice.model import ENDED_BY_CLIENT, HOLDS_UNITS, Order, OrderState
from sluice.reachability import Reachability
from sluice.trace_context import TraceContext

BATCHES_IN_FLIGHT = 2
"""Of each kind of change: one is being read while the other one is written."""

MAX_QUEUED_CHANGES = 20_000
"""As many as orders that may be decided at once by default; one more is asked to come back."""

_log = structlog.get_logger(__name__)


class Change(NamedTuple):
    """What a client may ask for: to `state`, from one of `leaves`."""

    name: str
    state: OrderState
    leaves: frozenset[OrderState]
    reason: str = ""


CONFIRM = Change("confirm", OrderState.CONFIRMED, frozenset({OrderState.HELD}))
CANCEL = Change("cancel", OrderState.CANCELLED, HOLDS_UNITS, ENDED_BY_CLIENT)


class NotAllowed(NamedTuple):
    """The order stands, and its state does not allow the change any more or never did."""

    order: Order


ChangeOutcome = Order | NotAllowed | Refused


class _Asked(NamedTuple):
    order_id: str
    outcome: asyncio.Future[ChangeOutcome]
    trace: TraceContext | None


class Changing:
    """Changes of one kind. Confirming waits for no stock server, so it has its own."""

    def __init__(
        self,
        change: Change,
        journal: Journal,
        owners: Owners,
        reachability: Reachability,
        *,
        now: Callable[[], datetime],
        metrics: GatewayMetrics,
    ) -> None:
        self._change = change
        self._journal = journal
        self._owners = owners
        self._reachability = reachability
        self._now = now
        self._metrics = metrics
        self._coalescer: Coalescer[_Asked] = Coalescer(
            self._decide,
            weigh=lambda _: 1,
            max_batch_weight=MAX_ORDERS_PER_MOVE,
            max_in_flight=BATCHES_IN_FLIGHT,
            max_queued_weight=MAX_QUEUED_CHANGES,
        )

    async def change(self, order_id: str, trace: TraceContext | None = None) -> ChangeOutcome:
        """The order as it stands changed, by this call or before it; or why not. A caller that is cancelled while it
        waits in the queue changes nothing.
        """
        if self._reachability.away:
            return self._told(Refused(Reason.JOURNAL_UNREACHABLE, "", RETRY_WHEN_AWAY_S))
        asked = _Asked(order_id, asyncio.get_running_loop().create_future(), trace)
        try:
            self._coalescer.submit(asked)
        except Overloaded as error:
            return self._told(Refused(Reason.OVERLOADED, "", error.retry_after_s))
        return self._told(await asked.outcome)

    async def idle(self) -> None:
        await self._coalescer.idle()

    def _told(self, outcome: ChangeOutcome) -> ChangeOutcome:
        match outcome:
            case Refused(reason):
                self._metrics.changed(self._change.name, reason)
            case NotAllowed():
                self._metrics.changed(self._change.name, Reason.ORDER_STATE)
            case Order():
                self._metrics.changed(self._change.name, None)
        return outcome

    async def _decide(self, asked: list[_Asked]) -> None:
        waiting = [each for each in asked if not each.outcome.done()]
        refused: Refused
        try:
            await self._change_all(waiting)
        except JournalUnreachable as error:
            self._reachability.mark_away(str(error))
            refused = Refused(Reason.JOURNAL_UNREACHABLE, "", RETRY_WHEN_AWAY_S)
        except KeeperUnreachable:
            refused = Refused(Reason.STOCK_UNREACHABLE, "", RETRY_WHEN_AWAY_S)
        except Exception:  # noqa: BLE001 - whatever happens, every caller must be answered
            _log.exception("changing orders failed", change=self._change.name)
            refused = Refused(Reason.INTERNAL)
        else:
            return
        _answer(waiting, refused)

    async def _change_all(self, asked: Sequence[_Asked]) -> None:
        standing: dict[str, Order | None] = dict(
            await self._journal.find_orders(list({each.order_id for each in asked}))
        )
        traces = {each.order_id: each.trace for each in reversed(asked) if each.trace is not None}
        # Each round every order left has been moved by somebody else, and orders move a few times in their lives.
        while steps := [
            Transition(order, self._change.state, self._change.reason, traces.get(order.order_id))
            for order in standing.values()
            if order is not None and order.state in self._change.leaves
        ]:
            standing |= await move_orders(steps, self._owners, self._journal, self._now)
        for each in asked:
            order = standing.get(each.order_id)
            if order is None:
                _answer([each], Refused(Reason.ORDER_NOT_FOUND, each.order_id))
            else:
                _answer([each], order if order.state is self._change.state else NotAllowed(order))


def _answer(asked: Sequence[_Asked], outcome: ChangeOutcome) -> None:
    for each in asked:
        if not each.outcome.done():
            each.outcome.set_result(outcome)
