"""Moves orders from state to state; the units of those that end go back to the stock servers that own them now.

Whoever confirms or ends orders does it here: the gateway for clients, the expirer, and consumers. A return is a
reservation of negative quantity: reserved at its owners, written in the transaction that ends the orders, settled.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from journal.events import encode_transition_events
from journal.protocol import (
    Committed,
    IncarnationsFenced,
    Journal,
    Journals,
    OrdersMoved,
    ReservationKey,
    ReservationsClosed,
    Spend,
    Transition,
    TransitionBatch,
    TransitionResult,
)
from sluice.errors import JournalUnreachable, KeeperUnreachable
from sluice.model import Order, units_by_sku
from sluice.seams.stock_keeper import Settlement
from sluice.sharding import divided

MAX_ORDERS_PER_MOVE = 1_000
"""What callers should hand over at once: one transaction and one outbox row, as large as those of new orders."""

RETURN_TIMEOUT_S = 0.5
"""A stock server only counts in memory for it. One that takes longer hangs, and another one is asked."""

MAX_RETURN_ATTEMPTS = 3
"""Times that units are reserved anew because a server was away, fenced, or had given the reservation up."""

MOVE_LIMIT_S = 1.2
"""For a transaction and its repetition together, as for new orders: callers hear something within two seconds."""


class Owner(Protocol):
    """A stock server to which units can go back."""

    async def reserve_return(self, units: dict[str, int], shard: int, timeout_s: float) -> tuple[UUID, int]:
        """See StockKeeper. Raises KeeperUnreachable; then the server counts as away."""
        ...

    def settle(self, settlement: Settlement) -> None:
        """Tells the server soon what the journal says."""
        ...

    def mark_away(self, reason: str) -> None:
        """Another server owns its SKUs until it is found to answer."""
        ...


class Owners(Protocol):
    def owner_of(self, sku: str) -> Owner:
        """The server that owns the SKU now, as far as this process knows: the best that answers."""
        ...


class _Return(NamedTuple):
    owner: Owner
    key: ReservationKey
    skus: Sequence[str]


async def move_orders(
    transitions: Sequence[Transition], owners: Owners, journal: Journal, now: Callable[[], datetime]
) -> dict[str, Order | None]:
    """Makes every step whose order, of `journal`, still stands as it was read; an order is named once. Returns, by
    order id, how each order stands afterwards: as its step made it, or where somebody else has moved it meanwhile;
    None: no such order.

    Raises JournalUnreachable and KeeperUnreachable: some steps may have been made, others not. Reading the orders and
    moving them again is always right: a step is never made twice, and no unit comes back twice.
    """
    standing: dict[str, Order | None] = {}
    left = list(transitions)
    for _ in range(MAX_RETURN_ATTEMPTS):
        returns = await _reserve_returns(left, owners, journal.shard)
        left = await _write(left, returns, journal, now, standing)
        if not left:
            return standing
    raise KeeperUnreachable(f"reservations of returned units were lost {MAX_RETURN_ATTEMPTS} times")


async def move_orders_anywhere(
    transitions: Sequence[Transition], owners: Owners, journals: Journals, now: Callable[[], datetime]
) -> dict[str, Order | None]:
    """As `move_orders`, of orders in any of the journals: each one's together, and apart from the others."""
    shards = journals.shards
    of_shard = divided(transitions, lambda step: step.order.order_id, len(shards))
    moves = [move_orders(steps, owners, shards[number], now) for number, steps in of_shard.items()]
    standing: dict[str, Order | None] = {}
    failures: list[BaseException] = []
    for moved in await asyncio.gather(*moves, return_exceptions=True):
        if isinstance(moved, BaseException):
            failures.append(moved)
        else:
            standing |= moved
    if failures:
        raise failures[0]
    return standing


async def _reserve_returns(transitions: Sequence[Transition], owners: Owners, shard: int) -> list[_Return]:
    units = _returned_units(transitions)
    returns: list[_Return] = []
    missing = sorted(units)
    for _ in range(MAX_RETURN_ATTEMPTS):
        skus_of: dict[Owner, list[str]] = {}
        for sku in missing:
            skus_of.setdefault(owners.owner_of(sku), []).append(sku)
        reserved = await asyncio.gather(*(_reserve(owner, skus, units, shard) for owner, skus in skus_of.items()))
        returns += [each for each in reserved if each is not None]
        missing = [sku for skus, each in zip(skus_of.values(), reserved, strict=True) if each is None for sku in skus]
        if not missing:
            return returns
    raise KeeperUnreachable(f"no stock server takes back units of {missing[0]}")


async def _reserve(owner: Owner, skus: Sequence[str], units: dict[str, int], shard: int) -> _Return | None:
    """None: it is away. What others reserved is kept, and void if it comes to nothing."""
    try:
        key = await owner.reserve_return({sku: units[sku] for sku in skus}, shard, RETURN_TIMEOUT_S)
    except KeeperUnreachable:
        return None
    return _Return(owner, key, skus)


async def _write(
    transitions: list[Transition],
    returns: Sequence[_Return],
    journal: Journal,
    now: Callable[[], datetime],
    standing: dict[str, Order | None],
) -> list[Transition]:
    """Adds to `standing` what is decided; returns those whose units must be reserved again."""
    left = transitions
    while left:
        time = now()
        units = _returned_units(left)
        spends = [Spend(*each.key, {sku: -units[sku] for sku in each.skus if sku in units}) for each in returns]
        batch = TransitionBatch(left, spends, *encode_transition_events(left, time), time)
        match await _transition_until_known(batch, journal):
            case Committed():
                standing.update((step.order.order_id, step.after(time)) for step in left)
                for each, spend in zip(returns, spends, strict=True):
                    each.owner.settle(Settlement(*each.key, spend.units))
                return []
            case OrdersMoved(moved):
                # Also where an attempt of ours was made and its answer lost: then all have moved, to where they should.
                standing |= moved
                left = [step for step in left if step.order.order_id not in moved]
            case lost:
                _tell_owners(lost, returns)
                return left
    return []


def _tell_owners(lost: ReservationsClosed | IncarnationsFenced, returns: Sequence[_Return]) -> None:
    for owner, key, _ in returns:
        match lost:
            case ReservationsClosed(sold) if key in sold:
                # Void: if it had been written, the orders would have moved.
                owner.settle(Settlement(*key, sold[key]))
            case IncarnationsFenced(fenced) if key[0] in fenced:
                owner.mark_away("its incarnation is fenced")


async def _transition_until_known(batch: TransitionBatch, journal: Journal) -> TransitionResult:
    """A transaction whose outcome is unknown is repeated once, on another connection."""
    try:
        async with asyncio.timeout(MOVE_LIMIT_S):
            try:
                return await journal.transition(batch)
            except JournalUnreachable as error:
                if not error.outcome_unknown:
                    raise
            return await journal.transition(batch)
    except TimeoutError as error:
        message = f"the journal did not answer within {MOVE_LIMIT_S} s"
        raise JournalUnreachable(message, outcome_unknown=True) from error


def _returned_units(transitions: Sequence[Transition]) -> dict[str, int]:
    return units_by_sku([step.order for step in transitions if step.returns_units])
