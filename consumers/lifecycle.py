"""Lifecycle: a created order is checked, then validated and confirmed, or cancelled with the reason that a check gives.

A held order is checked too, and waits for its client as before if nothing is wrong with it. It works in batches and
rests in between, so that it takes little from a machine that is busy with placing orders: it may lag behind a sale, and
catches up after it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from consumers.runtime.handling import Poison
from journal.protocol import Transition
from sluice.model import Order, OrderState
from sluice.seams.event_log import LoggedEvent
from sluice.trace_context import TraceContext

Move = Callable[[Sequence[Transition]], Awaitable[Mapping[str, Order | None]]]
"""Makes steps and returns how each order stands then; see `orders.moving.move_orders`."""

Count = Callable[[str, int], None]
"""Told what became of how many orders: a state, or the reason of a check."""

FindOrders = Callable[[Sequence[str]], Awaitable[Mapping[str, Order]]]


class Check(NamedTuple):
    """`fails(order, now)`: then the order is cancelled with `reason`, a fixed name that clients see."""

    reason: str
    fails: Callable[[Order, datetime], bool]


def blocked_customers(customers: frozenset[str]) -> Check:
    return Check("CUSTOMER_BLOCKED", lambda order, _: order.customer_id in customers)


def older_than(limit: timedelta) -> Check:
    """Orders that come to be checked so late that they should not be carried out any more."""
    return Check("ORDER_TOO_OLD", lambda order, now: now - order.create_time > limit)


def more_units_than(limit: int) -> Check:
    """Summed over all lines."""
    return Check("TOO_MANY_UNITS", lambda order, _: sum(line.quantity for line in order.lines) > limit)


class Lifecycle:
    """The consumer of `order-created`. `share`: of the time it works at most, at one batch at a time."""

    def __init__(
        self,
        find_orders: FindOrders,
        move: Move,
        checks: Sequence[Check],
        count: Count,
        *,
        now: Callable[[], datetime],
        share: float,
    ) -> None:
        self._find_orders = find_orders
        self._move = move
        self._checks = checks
        self._count = count
        self._now = now
        self._share = share
        self._turn = asyncio.Lock()
        self._rest_until = 0.0

    async def handle(self, events: Sequence[LoggedEvent]) -> None:
        async with self._turn:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._rest_until - loop.time())
            begin = loop.time()
            await self._advance({each.event.key: each.event.trace for each in events})
            self._rest_until = loop.time() + (loop.time() - begin) * (1 / self._share - 1)

    async def _advance(self, traces: Mapping[str, TraceContext | None]) -> None:
        """From wherever each order stands: a crash may have come between its steps. `traces`: of the orders by their
        ids; a step belongs to the trace in which its order was placed.
        """
        standing: dict[str, Order | None] = dict(await self._find_orders(list(traces)))
        if missing := [order_id for order_id in traces if order_id not in standing]:
            raise Poison(f"there is no order {missing[0]}")
        await self._step(standing, traces, OrderState.HELD, self._refused)
        standing |= await self._step(standing, traces, OrderState.CREATED, self._checked)
        await self._step(standing, traces, OrderState.VALIDATED, _confirmed)

    async def _step(
        self,
        standing: Mapping[str, Order | None],
        traces: Mapping[str, TraceContext | None],
        state: OrderState,
        step: Callable[[Order], Transition | None],
    ) -> Mapping[str, Order | None]:
        there = [order for order in standing.values() if order is not None and order.state is state]
        made = [each for each in map(step, there) if each is not None]
        steps = [each._replace(trace=traces[each.order.order_id]) for each in made]
        if not steps:
            return {}
        moved = await self._move(steps)
        for outcome, orders in Counter(each.reason or each.state.name for each in steps if _made(each, moved)).items():
            self._count(outcome, orders)
        return moved

    def _checked(self, order: Order) -> Transition:
        return self._refused(order) or Transition(order, OrderState.VALIDATED)

    def _refused(self, order: Order) -> Transition | None:
        now = self._now()
        for check in self._checks:
            if check.fails(order, now):
                return Transition(order, OrderState.CANCELLED, check.reason)
        return None


def _confirmed(order: Order) -> Transition:
    return Transition(order, OrderState.CONFIRMED)


def _made(step: Transition, standing: Mapping[str, Order | None]) -> bool:
    """Whether nobody else moved the order first."""
    order = standing.get(step.order.order_id)
    return order is not None and (order.state, order.reason) == (step.state, step.reason)
