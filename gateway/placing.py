"""The heart: `submit(orders)` decides every order. The unary call, the stream and the queue all end here.

Orders that need the same stock server travel together; carts over several servers travel apart, so that a slow
server delays only those who need it. A group is reserved, committed and settled as one.
"""

import asyncio
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from gateway.committing import (
    RESERVE_AGAIN,
    Committing,
    Grant,
    Placement,
    ReserveAgain,
    answer_for_existing,
    beyond_limit,
)
from gateway.keepers import KeeperLink, Keepers
from gateway.metrics import OrderCounts
from gateway.outcomes import RETRY_WHEN_AWAY_S, Accepted, Outcome, Reason, Refused
from journal.protocol import Journal
from sluice.coalescer import Coalescer
from sluice.errors import JournalUnreachable, KeeperUnreachable, Overloaded
from sluice.model import Line, NewOrder, Order, same_request
from sluice.reachability import Reachability
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Verdict

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

LEAST_RESERVE_S = 0.1
"""Enough for a server that has the units in memory, and the most that a late order may be later."""

MAX_IDS_PER_LOOKUP = 5_000
LOOKUPS_IN_FLIGHT = 2
RETRY_WHEN_OVERLOADED_S = 0.1

_FINAL_VERDICTS = {Verdict.OUT_OF_STOCK: Reason.OUT_OF_STOCK, Verdict.SKU_NOT_FOUND: Reason.SKU_NOT_FOUND}
_RETRY_VERDICTS = {Verdict.LEDGER_UNREACHABLE: Reason.STOCK_UNREACHABLE, Verdict.OVERLOADED: Reason.OVERLOADED}

_log = structlog.get_logger(__name__)

Asked = Mapping[str, tuple[KeeperLink, ...]]
"""Of SKUs that are spread and that an owner did not have: the owners asked, the last of them now."""

_NOBODY: Asked = {}

Route = tuple[KeeperLink, ...]
"""The stock servers that a group needs, by name. Carts reserve from them one after the other in this order: so two
carts that want the last units of the same two SKUs cannot both fail."""


class Group:
    """Orders of one request that take the same way. `outcomes`, once decided: one per order."""

    __slots__ = ("_waiting", "abandoned", "arrived", "deadline", "orders", "outcomes")

    def __init__(self, arrived: float, deadline: float) -> None:
        self.orders: list[NewOrder] = []
        self.arrived = arrived
        self.deadline = deadline
        self.outcomes: list[Outcome] | None = None
        self.abandoned = False
        self._waiting: list[asyncio.Future[list[Outcome]]] = []  # one for each who waits: none can take it from others

    async def decided(self) -> list[Outcome]:
        """The outcomes. A caller that is cancelled gives up an order that has not been started, and no other."""
        try:
            return await self.decided_for_others()
        except asyncio.CancelledError:
            self.abandoned = True
            raise

    async def decided_for_others(self) -> list[Outcome]:
        """The same, for who follows what others asked for, and gives up nothing."""
        if self.outcomes is not None:
            return self.outcomes
        waiter: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter

    def decide(self, outcomes: list[Outcome]) -> None:
        if self.outcomes is not None:
            return
        self.outcomes = outcomes
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(outcomes)


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
        metrics: OrderCounts,
    ) -> None:
        """`reserve_limit_s`: from an order's arrival until it must have its units, whoever has to be asked for them.
        `groups_in_flight`: of each route.
        """
        self._keepers = keepers
        self._journal = journal
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
        self._lookups: Coalescer[_Lookup] = Coalescer(
            self._look_up,
            weigh=lambda lookup: len(lookup.order_ids),
            max_batch_weight=MAX_IDS_PER_LOOKUP,
            max_in_flight=LOOKUPS_IN_FLIGHT,
            max_queued_weight=2 * max_orders_in_flight,
        )

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
                route = routes[order.lines] = self._route_of(order)
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

    def _route_of(self, order: NewOrder, asked: Asked = _NOBODY) -> Route:
        lines = order.lines
        if len(lines) == 1:
            return (_asked_now(lines[0].sku, asked) or self._keepers.owner_of(lines[0].sku),)
        owners = {_asked_now(line.sku, asked) or self._keepers.owner_of(line.sku) for line in lines}
        return tuple(sorted(owners, key=lambda link: link.name))

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
        self, orders: Sequence[NewOrder], route: Route, reserve_by: float, attempt: int, asked: Asked = _NOBODY
    ) -> list[Outcome]:
        """Reserves, commits, settles. Orders whose reservation was lost are reserved again, up to a limit; those for
        whom an owner of a SKU that is spread had no units are asked for at its other owners; and those that were
        refused beside units that come back ask once more.
        """
        reserved = await self._reserve(orders, route, reserve_by, asked)
        others = self._other_owners(reserved, asked)
        if not others:
            committed, existing = await asyncio.gather(
                self._commit(reserved), self._find_replays(orders, reserved.refusals)
            )
        else:
            elsewhere = [order for order in reserved.refused if self._is_refused_for(order, reserved, others)]
            ids = {order.order_id for order in elsewhere}
            refused_here = [order for order in reserved.refused if order.order_id not in ids]
            committed, stand, decided = await asyncio.gather(
                self._commit(reserved),
                self._find_replays(refused_here, reserved.refusals),
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
        reserved: "_Reserved",
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

    def _other_owners(self, reserved: "_Reserved", asked: Asked) -> Asked:
        """Whom to ask besides for SKUs that an owner did not have: of those that are spread others may hold units."""
        others: dict[str, tuple[KeeperLink, ...]] = {}
        for sku, link in reserved.sold_out_at.items():
            if not self._keepers.is_spread(sku):
                continue
            least = min(
                line.quantity
                for order in reserved.refused
                if self._is_refused_for(order, reserved, (sku,))
                for line in order.lines
                if line.sku == sku
            )
            before = asked.get(sku, (link,))
            if (other := self._keepers.other_owner(sku, before, least, self._monotonic())) is not None:
                others[sku] = (*before, other)
        return others

    def _is_refused_for(self, order: NewOrder, reserved: "_Reserved", skus: Container[str]) -> bool:
        refusal = reserved.refusals[order.order_id]
        return refusal.reason is Reason.OUT_OF_STOCK and refusal.subject in skus

    async def _decide_again(
        self, orders: Sequence[NewOrder], reserve_by: float, attempt: int, asked: Asked = _NOBODY
    ) -> dict[str, Outcome]:
        routes: dict[Route, list[NewOrder]] = {}
        for order in orders:
            routes.setdefault(self._route_of(order, asked), []).append(order)
        decided = await asyncio.gather(
            *(self._decide(group, route, reserve_by, attempt, asked) for route, group in routes.items())
        )
        return {
            order.order_id: outcome
            for group, outcomes in zip(routes.values(), decided, strict=True)
            for order, outcome in zip(group, outcomes, strict=True)
        }

    async def _reserve(
        self, orders: Sequence[NewOrder], route: Route, reserve_by: float, asked_for: Asked
    ) -> "_Reserved":
        """Asks each server of the route in turn for the lines it owns, for the orders that are still whole."""
        reserved = _Reserved(list(orders), [], {})
        for link, skus in self._shares(orders, route, asked_for):
            asked = reserved.whole if skus is None else [order for order in reserved.whole if _needs(order, skus)]
            if not asked:
                continue
            batch = reserve_batch(asked, skus, self._journal.shard)
            try:
                # Who waited long for a place in the lane is asked for all the same, if only for what is in memory.
                timeout_s = max(reserve_by - self._monotonic(), LEAST_RESERVE_S)
                reservation = await link.reserve(batch, timeout_s)
            except KeeperUnreachable:
                # All of them again, elsewhere; what other servers granted is committed as unsold.
                return reserved.without_whole()
            self._keepers.learn(link, batch.skus, reservation.owners)
            if reservation.blamed:
                reserved.refuse(asked, batch, reservation, link)
            if reservation.seq:
                reserved.grants.append(Grant(link, (reservation.incarnation, reservation.seq), skus))
        return reserved

    def _shares(
        self, orders: Sequence[NewOrder], route: Route, asked: Asked
    ) -> Sequence[tuple[KeeperLink, frozenset[str] | None]]:
        """Which SKUs each server of the route is asked for (None: all of them). Each SKU is in one share, and that is
        settled before the first is asked: liveness may change between two answers, and then a line would be reserved
        twice or not at all. What no one of the route owns any more goes to the first: any server may sell any SKU.
        """
        if len(route) == 1:
            return [(route[0], None)]
        shares: dict[KeeperLink, set[str]] = {link: set() for link in route}
        for sku in {line.sku for order in orders for line in order.lines}:
            now = _asked_now(sku, asked)
            owners = self._keepers.owners_of(sku) if now is None else (now,)
            shares[next((link for link in owners if link in shares), route[0])].add(sku)
        return [(link, frozenset(skus)) for link, skus in shares.items()]

    async def _commit(self, reserved: "_Reserved") -> Placement:
        placement = Placement(reserved.whole, reserved.grants)
        if reserved.grants:
            await self._committing.commit(placement)
        return placement

    async def _find_replays(self, orders: Sequence[NewOrder], refusals: Mapping[str, Refused]) -> Mapping[str, Outcome]:
        """Before anybody hears "out of stock": perhaps the order stands already and this is the answer lost."""
        asked = {
            order.order_id: order
            for order in orders
            if (refusal := refusals.get(order.order_id)) and refusal.reason is Reason.OUT_OF_STOCK
        }
        if not asked:
            return {}
        lookup = _Lookup(list(asked))
        try:
            self._lookups.submit(lookup)
            existing = await lookup.found
        except (JournalUnreachable, Overloaded):
            return dict.fromkeys(asked, Refused(Reason.JOURNAL_UNREACHABLE, "", RETRY_WHEN_AWAY_S))
        return {order_id: answer_for_existing(asked[order_id], stored) for order_id, stored in existing.items()}

    async def _look_up(self, lookups: "list[_Lookup]") -> None:
        try:
            if self._journal_reachability.away:
                raise JournalUnreachable("the journal is away")  # noqa: TRY301 - told as if it had been asked
            found = await self._journal.find_orders([each for lookup in lookups for each in lookup.order_ids])
        except Exception as error:  # noqa: BLE001 - handed to the callers
            if isinstance(error, JournalUnreachable):
                self._journal_reachability.mark_away(str(error))
            for lookup in lookups:
                if not lookup.found.done():
                    lookup.found.set_exception(error)
            return
        for lookup in lookups:
            if not lookup.found.done():
                lookup.found.set_result({each: found[each] for each in lookup.order_ids if each in found})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Lookup:
    __slots__ = ("found", "order_ids")

    def __init__(self, order_ids: Sequence[str]) -> None:
        self.order_ids = order_ids
        self.found: asyncio.Future[Mapping[str, Order]] = asyncio.get_running_loop().create_future()


class _Reserved:
    """Orders granted whole so far, what was granted by whom, who was refused, who had no units of which SKU, and
    whether some are to ask again. `given_back`: SKUs of which carts were granted units that another SKU made useless.
    """

    __slots__ = ("given_back", "grants", "refusals", "refused", "sent_back", "sold_out_at", "whole")

    def __init__(self, whole: list[NewOrder], grants: list[Grant], refusals: dict[str, Refused]) -> None:
        self.whole = whole
        self.grants = grants
        self.refusals = refusals
        self.refused: list[NewOrder] = []
        self.given_back: set[str] = set()
        self.sold_out_at: dict[str, KeeperLink] = {}
        self.sent_back = False

    def without_whole(self) -> "_Reserved":
        self.whole = []
        return self

    def refuse(
        self, asked: Sequence[NewOrder], batch: ReserveBatch, reservation: Reservation, link: KeeperLink
    ) -> None:
        answers: dict[tuple[int, int], Refused] = {}
        again: set[str] = set()
        for order, verdict, blamed in zip(asked, reservation.verdicts, reservation.blamed, strict=True):
            if verdict == Verdict.GRANTED:
                continue
            if verdict == Verdict.AGAIN:
                again.add(order.order_id)
                continue
            answer = answers.get((verdict, blamed))
            if answer is None:
                answer = answers[verdict, blamed] = _refusal(Verdict(verdict), batch.skus[blamed])
                if answer.reason is Reason.OUT_OF_STOCK:
                    self.sold_out_at[answer.subject] = link
            self.refusals[order.order_id] = answer
            self.refused.append(order)
            for grant in self.grants:  # of the servers that were asked before this one
                self.given_back.update(line.sku for line in order.lines if line.sku in (grant.skus or ()))
        self.sent_back = bool(again)
        self.whole = [
            order for order in self.whole if order.order_id not in self.refusals and order.order_id not in again
        ]


def _asked_now(sku: str, asked: Asked) -> KeeperLink | None:
    return asked[sku][-1] if sku in asked else None


def _refusal(verdict: Verdict, sku: str) -> Refused:
    if verdict in _FINAL_VERDICTS:
        return Refused(_FINAL_VERDICTS[verdict], sku)
    return Refused(_RETRY_VERDICTS[verdict], sku, RETRY_WHEN_AWAY_S)


def reserve_batch(orders: Sequence[NewOrder], owned: frozenset[str] | None, shard: int) -> ReserveBatch:
    """The columns of `orders`: of all their lines, or of those with a SKU in `owned`."""
    index_of: dict[str, int] = {}
    lines_per_order: list[int] = []
    sku_indexes: list[int] = []
    quantities: list[int] = []
    for order in orders:
        before = len(quantities)
        for sku, quantity in order.lines:
            if owned is None or sku in owned:
                sku_indexes.append(index_of.setdefault(sku, len(index_of)))
                quantities.append(quantity)
        lines_per_order.append(len(quantities) - before)
    one_line_each = len(quantities) == len(orders)
    return ReserveBatch(list(index_of), () if one_line_each else lines_per_order, sku_indexes, quantities, shard)


def _needs(order: NewOrder, skus: frozenset[str]) -> bool:
    return any(line.sku in skus for line in order.lines)
