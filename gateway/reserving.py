"""Which stock servers a group of orders is reserved from, and what they granted."""

from collections.abc import Callable, Container, Mapping, Sequence

from gateway.committing import Grant
from gateway.keepers import KeeperLink, Keepers
from gateway.outcomes import RETRY_WHEN_AWAY_S, Reason, Refused
from sluice.errors import KeeperUnreachable
from sluice.model import NewOrder
from sluice.seams.stock_keeper import Reservation, ReserveBatch, Verdict

LEAST_RESERVE_S = 0.1
"""Enough for a server that has the units in memory, and the most that a late order may be later."""

_FINAL_VERDICTS = {Verdict.OUT_OF_STOCK: Reason.OUT_OF_STOCK, Verdict.SKU_NOT_FOUND: Reason.SKU_NOT_FOUND}
_RETRY_VERDICTS = {Verdict.LEDGER_UNREACHABLE: Reason.STOCK_UNREACHABLE, Verdict.OVERLOADED: Reason.OVERLOADED}

Asked = Mapping[str, tuple[KeeperLink, ...]]
"""Of SKUs that are spread and that an owner did not have: the owners asked, the last of them now."""

NOBODY: Asked = {}

Route = tuple[KeeperLink, ...]
"""The stock servers that a group needs, by name. Carts reserve from them one after the other in this order: so two
carts that want the last units of the same two SKUs cannot both fail."""


class Reserved:
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

    def without_whole(self) -> "Reserved":
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

    def is_refused_for(self, order: NewOrder, skus: Container[str]) -> bool:
        """Whether an order that is refused was so for want of units of one of `skus`."""
        refusal = self.refusals[order.order_id]
        return refusal.reason is Reason.OUT_OF_STOCK and refusal.subject in skus


class Reserving:
    """For one journal, whose orders are reserved apart from those of others."""

    def __init__(self, keepers: Keepers, shard: int, monotonic: Callable[[], float]) -> None:
        self._keepers = keepers
        self._shard = shard
        self._monotonic = monotonic

    def route_of(self, order: NewOrder, asked: Asked = NOBODY) -> Route:
        lines = order.lines
        if len(lines) == 1:
            return (_asked_now(lines[0].sku, asked) or self._keepers.owner_of(lines[0].sku),)
        owners = {_asked_now(line.sku, asked) or self._keepers.owner_of(line.sku) for line in lines}
        return tuple(sorted(owners, key=lambda link: link.name))

    async def reserve(self, orders: Sequence[NewOrder], route: Route, reserve_by: float, asked_for: Asked) -> Reserved:
        """Asks each server of the route in turn for the lines it owns, for the orders that are still whole."""
        reserved = Reserved(list(orders), [], {})
        for link, skus in self._shares(orders, route, asked_for):
            asked = reserved.whole if skus is None else [order for order in reserved.whole if _needs(order, skus)]
            if not asked:
                continue
            batch = reserve_batch(asked, skus, self._shard)
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

    def other_owners(self, reserved: Reserved, asked: Asked) -> Asked:
        """Whom to ask besides for SKUs that an owner did not have: of those that are spread others may hold units."""
        others: dict[str, tuple[KeeperLink, ...]] = {}
        for sku, link in reserved.sold_out_at.items():
            if not self._keepers.is_spread(sku):
                continue
            least = min(
                line.quantity
                for order in reserved.refused
                if reserved.is_refused_for(order, (sku,))
                for line in order.lines
                if line.sku == sku
            )
            before = asked.get(sku, (link,))
            if (other := self._keepers.other_owner(sku, before, least, self._monotonic())) is not None:
                others[sku] = (*before, other)
        return others


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
