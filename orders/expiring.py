"""Expires holds that nobody confirmed in time: their orders end and their units go back.

Any number of processes may run this; the journal's lease lets one at a time do the work. An order expires once and
never after it was confirmed or cancelled, whoever expires it: the step is made only from the version that was read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from journal.protocol import HoldsLease, Journal, Transition
from orders.moving import MAX_ORDERS_PER_MOVE, Owners, move_orders
from sluice.errors import Unreachable
from sluice.model import ENDED_BY_EXPIRY, Order, OrderState

LOOK_INTERVAL_S = 0.5
"""Between looks for holds that are over, and so about how late units come back. The question reads an index that has
only living holds."""

TAKE_OVER_INTERVAL_S = 2.0
"""Between tries to become the one that expires, and the pause after something was away."""

_log = structlog.get_logger(__name__)


async def keep_expiring(
    journal: Journal,
    owners: Owners,
    now: Callable[[], datetime],
    count_expired: Callable[[int], None],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """For ever. `count_expired` is told how many orders each look has expired."""
    while True:
        try:
            async with journal.lease_holds() as lease:
                while lease is not None:
                    if await _expire_due(lease, journal, owners, now, count_expired) < MAX_ORDERS_PER_MOVE:
                        await sleep(LOOK_INTERVAL_S)
        except Unreachable as error:
            _log.warning("holds cannot expire now", reason=str(error))
        await sleep(TAKE_OVER_INTERVAL_S)


async def _expire_due(
    lease: HoldsLease,
    journal: Journal,
    owners: Owners,
    now: Callable[[], datetime],
    count_expired: Callable[[int], None],
) -> int:
    """How many were due."""
    due = await lease.due_holds(MAX_ORDERS_PER_MOVE)
    if due:
        count_expired(await expire(due, journal, owners, now))
    return len(due)


async def expire(due: Sequence[Order], journal: Journal, owners: Owners, now: Callable[[], datetime]) -> int:
    """Ends held orders whose time is over; how many of them are expired now. The others were confirmed or cancelled
    before this. Raises JournalUnreachable, KeeperUnreachable.
    """
    steps = [Transition(order, OrderState.EXPIRED, ENDED_BY_EXPIRY) for order in due]
    standing = await move_orders(steps, owners, journal, now)
    return sum(order is not None and order.state is OrderState.EXPIRED for order in standing.values())
