"""The heart: `submit(orders)` decides every order. The unary call, the stream and the queue all end here.

Orders that need the same stock server travel together; carts over several servers travel apart, so that a slow
server delays only those who need it. A group is reserved, committed and settled as one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from gateway.committing import (
    RESERVE_AGAIN,
    Committing,
    Placement,
    ReserveAgain,
    beyond_limit,
)
from gateway.group import Group
from gateway.keepers import Keepers
from gateway.metrics import OrderMetrics
from gateway.outcomes import RETRY_WHEN_AWAY_S, Accepted, Outcome, Reason, Refused
from gateway.replays import Replays
from gateway.reserving import NOBODY, Asked, Reserved, Reserving, Route
from journal.protocol import Journal
from sluice.coalescer import Coalescer
from sluice.errors import Overloaded
from sluice.model import Line, NewOrder, same_request
from sluice.reachability import Reachability

MAX_ORDERS_PER_RESERVE = 1_000
"""One reservation: large enough that its fixed cost vanishes, small enough that its journal transaction stays short."""

EAGER_GROUPS = 1
GROUPS_IN_FLIGHT = 4
ORDERS_WORTH_A_GROUP = 600
"""Per owner: single calls gather while one group is reserved and committed, because what a group costs besides its
orders (calls, a conditional write, a transaction, an outbox row) is more than theirs: with two such groups 1,800
calls/s were measured, with one 2,250. Orders that come in hundreds overlap: some are reserved, others committed. Two
messages of 500 make a group: 108,000 orders/s against 101,000 with a group for each, and less with three (96,000)."""

GATHER_S = 0.003
"""Callers whose orders were decided together send their next ones within a few milliseconds."""

MAX_RESERVE_ATTEMPTS = 3
"""Servers asked for one order before its caller hears UNAVAILABLE: the owner and two fallbacks."""

RETRY_WHEN_OVERLOADED_S = 0.1

_log = structlog.get_logger(__name__)


class Placing:
    def __init__(
        self,
        keepers: Keepers,
        journal: Journal,
        committing: Committing,
        journal_reachability: Reachability,
        *,
        monotonic: Callable[[], float],
        reserve_limit_s: float,
        max_orders_in_flight: int,
        groups_in_flight: int = GROUPS_IN_FLIGHT,
        metrics: OrderMetrics,
    ) -> None:
        """`reserve_limit_s`: from an order's arrival until it must have its units, whoever has to be asked for them.
        `groups_in_flight`: of each route.
        """
        self._keepers = keepers
        self._committing = committing
        self._journal_reachability = journal_reachability
        self._monotonic = monotonic
        self._reserve_limit_s = reserve_limit_s
        self._max_orders_in_flight = max_orders_in_flight
        self._groups_in_flight = groups_in_flight
        self._metrics = metrics
        self._in_flight: dict[str, Group] = {}
        self._lanes: dict[Route, Coalescer[Group]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reserving = Reserving(keepers, journal.shard, monotonic)
        self._replays = Replays(journal, journal_reachability, max_queued_ids=2 * max_orders_in_flight)

    def submit(self, orders: Sequence[NewOrder], deadline: float) -> list[Group]:
        """Starts deciding `orders`; each is in exactly one of the groups returned. `deadline` as `monotonic` counts.

        Raises Overloaded, with nothing started, when too many orders are being decided already.
        """
        if len(self._in_flight) + len(orders) > self._max_orders_in_flight:
            self._metrics.refused(Reason.OVERLOADED, len(orders))
            raise Overloaded("too many orders are being decided", retry_after_s=RETRY_WHEN_OVERLOADED_S)
        now = self._monotonic()
        groups: dict[Route, Group] = {}
        repeats = Group(now, deadline)
        in_flight = self._in_flight
        routes: dict[tuple[Line, ...], Route] = {}
        for order in orders:
            if order.order_id in in_flight:
                repeats.orders.append(order)
                continue
            route = routes.get(order.lines)
            if route is None:
                route = routes[order.lines] = self._reserving.route_of(order)
            group = groups.get(route)
            if group is None:
                group = groups[route] = Group(now, deadline)
            group.orders.append(order)
            in_flight[order.order_id] = group
        for route, group in groups.items():
            self._enter_lane(route, group)
        if not repeats.orders:
            return list(groups.values())
        self._spawn(self._follow(repeats))
        return [*groups.values(), repeats]

    @property
    def orders_in_flight(self) -> int:
        return len(self._in_flight)

    async def idle(self) -> None:
        """Returns when every order that was submitted has been decided."""
        while self._in_flight or self._tasks:
            for lane in list(self._lanes.values()):
                await lane.idle()
            if self._tasks:
                await asyncio.wait(self._tasks)
        await self._committing.idle()

    def _enter_lane(self, route: Route, group: Group) -> None:
        if self._journal_reachability.away:
            self._refuse_without_journal(group)
            return
        lane = self._lanes.get(route)
        if lane is None:
            lane = self._lanes[route] = Coalescer(
                lambda groups: self._decide_groups(route, groups),
                weigh=lambda each: len(each.orders),
                max_batch_weight=MAX_ORDERS_PER_RESERVE,
                max_in_flight=self._groups_in_flight,
                eager_batches=EAGER_GROUPS,
                worth_weight=ORDERS_WORTH_A_GROUP,
                gather_s=GATHER_S,
                max_queued_weight=self._max_orders_in_flight,
            )
        try:
            lane.submit(group)
        except Overloaded as error:
            self._finish(group, [Refused(Reason.OVERLOADED, "", error.retry_after_s)] * len(group.orders))

    def _refuse_without_journal(self, group: Group) -> None:
        """Reserving would only put units in doubt."""
        self._finish(group, [Refused(Reason.JOURNAL_UNREACHABLE, "", RETRY_WHEN_AWAY_S)] * len(group.orders))

    def _finish(self, group: Group, outcomes: list[Outcome]) -> None:
        for order in group.orders:
            del self._in_flight[order.order_id]
        self._resolve(group, outcomes)

    def _resolve(self, group: Group, outcomes: list[Outcome]) -> None:
        self._metrics.decided(outcomes)
        group.decide(outcomes)

    async def _follow(self, repeats: Group) -> None:
        """Orders whose id is being decided right now: they get the first answer again. That the first was not started
        because its caller left or its time was up is no answer for another caller.
        """
        outcomes: list[Outcome] = []
        for order in repeats.orders:
            leader = self._in_flight.get(order.order_id)
            if leader is None:
                outcomes += await self._place_one(order, repeats.deadline)
                continue
            outcomes_of_first = await leader.decided_for_others()
            place = next(i for i, first in enumerate(leader.orders) if first.order_id == order.order_id)
            first_outcome = outcomes_of_first[place]
            if isinstance(first_outcome, Accepted):
                same = same_request(leader.orders[place], order)
                outcomes.append(
                    first_outcome._replace(replayed=True) if same else Refused(Reason.ORDER_ID_REUSED, order.order_id)
                )
            elif same_request(leader.orders[place], order) and first_outcome.reason is not Reason.DEADLINE:
                outcomes.append(first_outcome)
            else:
                outcomes += await self._place_one(order, repeats.deadline)
        self._resolve(repeats, outcomes)

    async def _place_one(self, order: NewOrder, deadline: float) -> list[Outcome]:
        try:
            (group,) = self.submit([order], deadline)
        except Overloaded as error:
            return [Refused(Reason.OVERLOADED, "", error.retry_after_s)]
        return await group.decided()

    async def _decide_groups(self, route: Route, groups: list[Group]) -> None:
        now = self._monotonic()
        started = []
        for group in groups:
            if group.abandoned or group.deadline <= now:
                self._finish(group, [Refused(Reason.DEADLINE)] * len(group.orders))
            elif self._journal_reachability.away:
                self._refuse_without_journal(group)  # found out while it waited in the lane
            else:
                started.append(group)
        orders = [order for group in started for order in group.orders]
        if not orders:
            return
        try:
            reserve_by = min(group.arrived for group in started) + self._reserve_limit_s
            outcomes = await self._decide(orders, route, reserve_by, attempt=1)
        except Exception:  # noqa: BLE001 - whatever happens, every caller must be answered
            _log.exception("deciding failed", orders=len(orders))
            outcomes = [Refused(Reason.INTERNAL)] * len(orders)
        first = 0
        for group in started:
            self._finish(group, outcomes[first : first + len(group.orders)])
            first += len(group.orders)

    async def _decide(
        self, orders: Sequence[NewOrder], route: Route, reserve_by: float, attempt: int, asked: Asked = NOBODY
    ) -> list[Outcome]:
        """Reserves, commits, settles. Orders whose reservation was lost are reserved again, up to a limit; those for
        whom an owner of a SKU that is spread had no units are asked for at its other owners; and those that were
        refused beside units that come back ask once more.
        """
        with self._metrics.reserve_seconds.time():
            reserved = await self._reserving.reserve(orders, route, reserve_by, asked)
        others = self._reserving.other_owners(reserved, asked)
        if not others:
            committed, existing = await asyncio.gather(
                self._commit(reserved), self._replays.find(orders, reserved.refusals)
            )
        else:
            elsewhere = [order for order in reserved.refused if reserved.is_refused_for(order, others)]
            ids = {order.order_id for order in elsewhere}
            refused_here = [order for order in reserved.refused if order.order_id not in ids]
            committed, stand, decided = await asyncio.gather(
                self._commit(reserved),
                self._replays.find(refused_here, reserved.refusals),
                self._decide_again(elsewhere, reserve_by, attempt, {**asked, **others}),
            )
            existing = {**stand, **decided}
        if (for_all := committed.for_all) is not None and len(reserved.whole) == len(orders):
            return [for_all] * len(orders)
        outcomes: list[Outcome] = []
        again: list[NewOrder] = []
        for order in orders:
            outcome = committed.of(order.order_id)
            if outcome is None:
                refusal = reserved.refusals.get(order.order_id)
                outcome = existing.get(order.order_id, refusal) if refusal is not None else RESERVE_AGAIN
            if isinstance(outcome, ReserveAgain):
                again.append(order)
                outcome = Refused(Reason.STOCK_UNREACHABLE, "", RETRY_WHEN_AWAY_S)
            outcomes.append(outcome)
        if reserved.sent_back and self._monotonic() < reserve_by:
            attempt -= 1  # it took part of them: the server is there, and time is the limit
        hopeful = self._hopeful(orders, outcomes, reserved, committed, reserve_by)
        later: dict[str, Outcome] = {}
        if again and attempt < MAX_RESERVE_ATTEMPTS:
            later |= await self._decide_again(again, reserve_by, attempt + 1)
        if hopeful:
            there = {sku: (link,) for sku, link in reserved.sold_out_at.items()}
            later |= await self._decide_again(hopeful, reserve_by, attempt, {**asked, **there})
        if not later:
            return outcomes
        return [later.get(order.order_id, outcome) for order, outcome in zip(orders, outcomes, strict=True)]

    def _hopeful(
        self,
        orders: Sequence[NewOrder],
        outcomes: list[Outcome],
        reserved: Reserved,
        committed: Placement,
        reserve_by: float,
    ) -> list[NewOrder]:
        """Who must ask once more: the stock server had no units for them because orders beside them were granted some
        that they turned out not to need. Each time at least one of those is decided for good, so it ends; who would
        be kept beyond the time limit, or beyond a customer's limit, hears so in `outcomes`.
        """
        came_back = reserved.given_back | committed.given_back
        if not came_back:
            return []
        self._keepers.came_back(came_back)
        hopeful = []
        for place, order in enumerate(orders):
            outcome = outcomes[place]
            if order.order_id not in reserved.refusals or not isinstance(outcome, Refused):
                continue
            if outcome.reason is not Reason.OUT_OF_STOCK or outcome.subject not in came_back:
                continue
            if (limit := committed.limit_for(order)) is not None:
                outcomes[place] = beyond_limit(limit)
            elif self._monotonic() >= reserve_by:
                outcomes[place] = Refused(Reason.STOCK_UNREACHABLE, "", RETRY_WHEN_AWAY_S)
            else:
                hopeful.append(order)
        return hopeful

    async def _decide_again(
        self, orders: Sequence[NewOrder], reserve_by: float, attempt: int, asked: Asked = NOBODY
    ) -> dict[str, Outcome]:
        routes: dict[Route, list[NewOrder]] = {}
        for order in orders:
            routes.setdefault(self._reserving.route_of(order, asked), []).append(order)
        decided = await asyncio.gather(
            *(self._decide(group, route, reserve_by, attempt, asked) for route, group in routes.items())
        )
        return {
            order.order_id: outcome
            for group, outcomes in zip(routes.values(), decided, strict=True)
            for order, outcome in zip(group, outcomes, strict=True)
        }

    async def _commit(self, reserved: Reserved) -> Placement:
        placement = Placement(reserved.whole, reserved.grants)
        if reserved.grants:
            with self._metrics.commit_seconds.time():
                await self._committing.commit(placement)
        return placement

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
