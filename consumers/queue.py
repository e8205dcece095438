"""The queue: orders that were accepted into it are decided in its order, by the same placing as all others.

Orders of one key (the first SKU of each) are decided one after the other, so that who came first is served first;
orders of different keys side by side. Those that follow each other and want the very same travel together: if the first
of them cannot be served, neither can the others, so nobody overtakes.

An order is rejected for want of units only if there are none for it: not sold, that is, wherever they are. Units in the
escrow of a server that died, or in doubt, come back; the order waits for them at the head of its queue.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import NamedTuple, Protocol

from consumers.rejecting import Count, Rejecting, RejectionJournal
from consumers.runtime.handling import Poison
from journal.protocol import Rejection
from sluice.errors import StoreUnreachable, Unreachable
from sluice.model import NewOrder, Order
from sluice.order_requests import NoOrderRequest, decode_request
from sluice.seams.event_log import LoggedEvent

OUT_OF_STOCK = "OUT_OF_STOCK"
"""The one refusal that is looked into before it is final. The names are those that clients hear everywhere."""

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
"""Between tries of an order whose units are there and cannot be had, doubling: most doubt is over in milliseconds."""

WAIT_LIMIT_S = 30.0
"""Units of a server that died are back within about 15 s. Whoever waits longer hands its batch back, to be given it
again: a call of a handler may take 60 s."""


class Stands(NamedTuple):
    """The order is in the journal, whoever put it there."""


class Refused(NamedTuple):
    """For good, by `sku`; but see OUT_OF_STOCK."""

    reason: str
    sku: str


class Undecided(NamedTuple):
    """Something that is needed did not answer: nobody knows, ask again."""

    reason: str


Answer = Stands | Refused | Undecided

STANDS = Stands()

Place = Callable[[Sequence[NewOrder]], Awaitable[Sequence[Answer]]]
"""Decides a batch, first come first served; an answer for each. It never raises."""


class Stock(NamedTuple):
    """Of a SKU: units that were ever there, and units sold. Read in such an order that at one moment no more than
    `restocked - sold` were unsold.
    """

    restocked: int
    sold: int

    @property
    def unsold(self) -> int:
        return self.restocked - self.sold


ReadStock = Callable[[str], Awaitable[Stock]]
"""Raises JournalUnreachable, StoreUnreachable."""


class QueueJournal(RejectionJournal, Protocol):
    """The part of the journal that the queue needs."""

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]: ...


class Queue:
    """The consumer of `order-requested`."""

    def __init__(
        self, place: Place, read_stock: ReadStock, journal: QueueJournal, count: Count, *, now: Callable[[], datetime]
    ) -> None:
        self._place = place
        self._read_stock = read_stock
        self._journal = journal
        self._count = count
        self._rejecting = Rejecting(journal, count, now=now)

    async def handle(self, events: Sequence[LoggedEvent]) -> None:
        """Raises Unreachable: some orders are decided, the others wait; handling all of them again is right."""
        queues = await self._without_decided(_orders_by_key(events))
        give_up_at = asyncio.get_running_loop().time() + WAIT_LIMIT_S
        ends = await asyncio.gather(
            *(self._decide(deque(orders), give_up_at) for orders in queues),
            return_exceptions=True,  # a key that waits for something does not stop the others
        )
        failures = [end for end in ends if isinstance(end, BaseException)]
        for failure in sorted(failures, key=lambda each: isinstance(each, Unreachable)):
            raise failure

    async def _without_decided(self, queues: Sequence[Mapping[str, NewOrder]]) -> list[Sequence[NewOrder]]:
        """A crash, or a client that asked twice, brings orders again: what stands is their answer."""
        standing = await self._journal.find_orders([order_id for orders in queues for order_id in orders])
        left = [[order for order_id, order in orders.items() if order_id not in standing] for orders in queues]
        return [orders for orders in left if orders]

    async def _decide(self, orders: deque[NewOrder], give_up_at: float) -> None:
        """The orders of one key, in their order."""
        wait_s = FIRST_WAIT_S
        while orders:
            short = await self._place_alike(_take_alike(orders))
            if not short:
                continue
            sku = short[0].sku
            orders.extendleft(reversed([each.order for each in short]))
            stock = await self._read_stock(sku)
            if out_of_stock := _take_while(orders, partial(_wants_more, sku, stock.unsold)):
                await self._rejecting.reject(
                    [Rejection(order, OUT_OF_STOCK, sku, stock.restocked) for order in out_of_stock]
                )
                wait_s = FIRST_WAIT_S
                continue
            if asyncio.get_running_loop().time() > give_up_at:
                raise StoreUnreachable(f"units of {sku} are there, and nobody has them for sale")
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            standing = await self._journal.find_orders([order.order_id for order in orders])
            orders = deque(order for order in orders if order.order_id not in standing)

    async def _place_alike(self, orders: Sequence[NewOrder]) -> list["_Short"]:
        """Those that were refused for want of units. Raises Unreachable; then none is rejected: who comes before may
        still be undecided.
        """
        answers = list(zip(orders, await self._place(orders), strict=True))
        self._count("accepted", sum(isinstance(answer, Stands) for _, answer in answers))
        for _, answer in answers:
            if isinstance(answer, Undecided):
                raise StoreUnreachable(f"orders cannot be decided: {answer.reason}")
        refused = [(order, answer) for order, answer in answers if isinstance(answer, Refused)]
        await self._rejecting.reject(
            [Rejection(order, *answer) for order, answer in refused if answer.reason != OUT_OF_STOCK]
        )
        return [_Short(order, answer.sku) for order, answer in refused if answer.reason == OUT_OF_STOCK]


class _Short(NamedTuple):
    """An order for which there were too few units of `sku`."""

    order: NewOrder
    sku: str


def _orders_by_key(events: Sequence[LoggedEvent]) -> list[Mapping[str, NewOrder]]:
    """By order id, in the order of the log; of an id that is there twice the first counts. Raises Poison."""
    by_key: dict[str, dict[str, NewOrder]] = {}
    for logged in events:
        try:
            order = decode_request(logged.event.value).order._replace(trace=logged.event.trace)
        except NoOrderRequest as error:
            raise Poison(str(error)) from error
        by_key.setdefault(logged.event.key, {}).setdefault(order.order_id, order)
    return list(by_key.values())


def _take_alike(orders: deque[NewOrder]) -> list[NewOrder]:
    """Takes the first, and those right behind it that want the very same."""
    lines = orders[0].lines
    return _take_while(orders, lambda order: order.lines == lines)


def _wants_more(sku: str, units: int, order: NewOrder) -> bool:
    return any(line.sku == sku and line.quantity > units for line in order.lines)


def _take_while(orders: deque[NewOrder], wanted: Callable[[NewOrder], bool]) -> list[NewOrder]:
    taken = list(takewhile(wanted, orders))
    for _ in taken:
        orders.popleft()
    return taken
