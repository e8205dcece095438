"""The client for asyncio."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.client.answers import (
    Consistency,
    Line,
    Order,
    Placed,
    QueuePosition,
    SkuSummary,
    Stock,
    StockPolicy,
    read_order,
    read_stock,
    read_summary,
)
from sluice.client.calls import Calls
from sluice.client.errors import InvalidOrder, Violation
from sluice.client.order_ids import new_order_id
from sluice.client.placing import Placing
from sluice.client.wire import encode_hold, encode_lines, encode_priority, one_line
from sluice.tls_files import Tls

DEFAULT_TIMEOUT_S = 10.0
"""Long enough to outlast the restart of a gateway."""

ORDERS_PER_PAGE = 500
SKUS_PER_PAGE = 1_000


class Client:
    """A client of one Sluice, for one event loop:

        async with Client("127.0.0.1:50051") as client:
            placed = await client.place("mug", 2, customer="ada")

    `target` is any target of gRPC: `host:port`, `dns:///name:port`, `ipv4:10.0.0.1:50051,10.0.0.2:50051`. Of several
    addresses those that answer are used in turn; orders all travel over one stream, to one of them.

    However many coroutines place orders, one client is enough, and better than several: what they place at the same
    time travels together. Each call has `timeout_s` for everything, repeats and new connections included.
    """

    def __init__(self, target: str, *, tls: Tls | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Without `tls` nothing is encrypted, and a server that has TLS does not answer."""
        self._target = target
        self._tls = tls
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        """Raises ValueError, which names the file of TLS that cannot be used."""
        self._loop = asyncio.get_running_loop()
        self._calls = Calls(self._target, self._tls)
        self._placing = Placing(self._calls.open_order_stream, jitter=random.random)
        self._running = asyncio.create_task(self._placing.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Orders that are still undecided are given up: their callers get Unavailable / `CLOSED`."""
        del kind, error, trace
        self._running.cancel()
        await asyncio.wait([self._running])
        await self._calls.close()
        if not self._running.cancelled():
            self._running.result()  # a defect of this client

    async def place(
        self, sku: str, quantity: int = 1, *, customer: str, priority: int = 0, timeout_s: float | None = None
    ) -> Placed:
        """Places an order of one line. When it returns, the order is committed on disk. `priority`, 0 to 1,000, counts
        when a SKU of the `COUNTER` policy was oversold and the compensation begins with the lowest.

        Raises `OutOfStock`, `SkuNotFound`, `CustomerLimit`, `InvalidOrder`, and `Unavailable` when `timeout_s` is over.

        The order is sent again, under the same id, until it is decided. If the caller gives up (a timeout, a
        cancelled task) the order may be placed all the same: a cancelled caller who must know makes the id itself and
        uses `place_order`. Cancelling is no way to take an order back: `cancel` is.
        """
        try:
            lines, rest = one_line(sku, quantity)
            if priority:
                rest += encode_priority(priority)
        except (ValueError, TypeError) as error:
            raise _unspeakable(error) from error
        order_id = new_order_id()
        deadline = self._loop.time() + self._limit_s(timeout_s)
        if self._placing.full:
            await self._placing.until_room(order_id, deadline)
        return Placed(order_id, customer, lines, await self._submit(order_id, customer, lines, rest, deadline))

    async def place_order(
        self,
        lines: Mapping[str, int],
        *,
        customer: str,
        order_id: str | UUID | None = None,
        hold: timedelta | None = None,
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> Placed:
        """Places an order of several lines (units by SKU): all of them, or none.

        `order_id`, a UUID, makes the call one that may be repeated for ever: the same id with the same content is sold
        once, and answered `replayed`. With another content it raises `OrderIdReused`. With `hold` the units are set
        aside for so long, and go back unless `confirm` comes before.

        Everything else is as with `place`.
        """
        known_id = new_order_id() if order_id is None else canonical_id(order_id)
        wanted = tuple([Line(sku, quantity) for sku, quantity in lines.items()])
        try:
            rest = encode_lines(wanted) + (b"" if hold is None else encode_hold(hold)) + encode_priority(priority)
        except (ValueError, TypeError) as error:
            raise _unspeakable(error, known_id) from error
        deadline = self._loop.time() + self._limit_s(timeout_s)
        if self._placing.full:
            await self._placing.until_room(known_id, deadline)
        return Placed(known_id, customer, wanted, await self._submit(known_id, customer, wanted, rest, deadline))

    async def queue_order(
        self,
        lines: Mapping[str, int],
        *,
        customer: str,
        order_id: str | UUID | None = None,
        hold: timedelta | None = None,
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> Order:
        """Queues an order instead of deciding it: when it returns, it is kept in the log, and will be decided first
        come, first served. The answer is PENDING with its `queue_position`; keep both, and ask `get` or `watch` with
        them. The same id again is harmless, and answered by what stands if it is decided already.

        Raises what `place_order` raises for an order that cannot be understood or was refused before, and
        `Unavailable`.
        """
        known_id = new_order_id() if order_id is None else canonical_id(order_id)
        try:
            request = orders_pb2.PlaceOrderRequest(
                order_id=known_id,
                customer_id=customer,
                lines=[orders_pb2.OrderLine(sku=sku, quantity=quantity) for sku, quantity in lines.items()],
                mode=orders_pb2.MODE_QUEUED,
                priority=priority,
            )
            if hold is not None:
                request.hold.FromTimedelta(hold)
        except (ValueError, TypeError) as error:
            raise _unspeakable(error, known_id) from error
        answer = await self._calls.ask_orders(
            request, orders_pb2.PlaceOrderResponse, self._limit_s(timeout_s), known_id
        )
        return read_order(answer.order)

    async def get(
        self, order_id: str | UUID, *, queue_position: QueuePosition | None = None, timeout_s: float | None = None
    ) -> Order:
        """The order as it stands. Of one that was queued give the position too: without it the gateway only knows those
        that it has queued itself, and a short while. Raises `OrderNotFound`.
        """
        known_id = canonical_id(order_id)
        request = orders_pb2.GetOrderRequest(order_id=known_id, queue_position=_position_message(queue_position))
        answer = await self._calls.ask_orders(request, orders_pb2.GetOrderResponse, self._limit_s(timeout_s), known_id)
        return read_order(answer.order)

    async def cancel(self, order_id: str | UUID, *, timeout_s: float | None = None) -> Order:
        """Ends the order and gives its units back; the same again is harmless. Raises `OrderNotFound`, `WrongState`."""
        known_id = canonical_id(order_id)
        request = orders_pb2.CancelOrderRequest(order_id=known_id)
        answer = await self._calls.ask_orders(
            request, orders_pb2.CancelOrderResponse, self._limit_s(timeout_s), known_id
        )
        return read_order(answer.order)

    async def confirm(self, order_id: str | UUID, *, timeout_s: float | None = None) -> Order:
        """Keeps the units of an order that is held; the same again is harmless. Raises `OrderNotFound`, and
        `WrongState` if it comes too late or the order has no hold.
        """
        known_id = canonical_id(order_id)
        request = orders_pb2.ConfirmOrderRequest(order_id=known_id)
        answer = await self._calls.ask_orders(
            request, orders_pb2.ConfirmOrderResponse, self._limit_s(timeout_s), known_id
        )
        return read_order(answer.order)

    async def watch(
        self,
        order_id: str | UUID,
        *,
        after_version: int = 0,
        queue_position: QueuePosition | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Order, None]:
        """The order as it stands, and again whenever its state has changed, until that is final. Versions only rise. It
        goes on by itself after a lost connection, without end unless there is a `timeout_s`. `queue_position` as in
        `get`.

        Raises `OrderNotFound`, and `Unavailable` when `timeout_s` is over.
        """
        request = orders_pb2.WatchOrderRequest(
            order_id=canonical_id(order_id),
            after_version=after_version,
            queue_position=_position_message(queue_position),
        )
        orders = self._calls.watch_order(request, timeout_s)
        async with aclosing(orders):
            async for order in orders:
                yield read_order(order)

    async def list_orders(
        self, *, customer: str | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[Order, None]:
        """All orders, or those of one customer, newest first. `timeout_s` is for each page."""
        token = ""
        while True:
            request = orders_pb2.ListOrdersRequest(
                customer_id=customer or "", page_size=ORDERS_PER_PAGE, page_token=token
            )
            answer = await self._calls.ask_orders(
                request, orders_pb2.ListOrdersResponse, self._limit_s(timeout_s), None
            )
            for order in answer.orders:
                yield read_order(order)
            token = answer.next_page_token
            if not token:
                return

    async def create_sku(
        self,
        sku: str,
        units: int,
        *,
        policy: StockPolicy = StockPolicy.UNKNOWN,
        owners: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        """Creates a SKU with its first units; the same again is harmless. Raises `SkuExists` if it stands with others.

        Without `policy` it is the server's default, `ESCROW`.
        """
        request = stock_pb2.CreateSkuRequest(
            sku=sku, units=units, policy=f"STOCK_POLICY_{policy.name}" if policy else None, owners=owners
        )
        await self._calls.ask_stock(request, stock_pb2.CreateSkuResponse, self._limit_s(timeout_s))

    async def restock(
        self, sku: str, units: int, *, restock_id: str | UUID | None = None, timeout_s: float | None = None
    ) -> None:
        """Adds units, once. Raises `SkuNotFound`. After `Unavailable` they may have been added: who wants to repeat
        such a call names the delivery by a `restock_id` (a UUID) of its own.
        """
        known_id = new_order_id() if restock_id is None else str(restock_id)
        request = stock_pb2.RestockRequest(sku=sku, restock_id=known_id, units=units)
        await self._calls.ask_stock(request, stock_pb2.RestockResponse, self._limit_s(timeout_s))

    async def withdraw(
        self, sku: str, units: int, *, withdrawal_id: str | UUID | None = None, timeout_s: float | None = None
    ) -> None:
        """Takes units out of stock that nobody has: all of them, or none, once. After `Unavailable` they may be gone:
        who wants to repeat such a call names the withdrawal by a `withdrawal_id` (a UUID) of its own.

        Raises `FewerAvailable`, `SkuNotFound`, and `SoldByCounting` for the policy `COUNTER`.
        """
        known_id = new_order_id() if withdrawal_id is None else str(withdrawal_id)
        request = stock_pb2.WithdrawRequest(sku=sku, withdrawal_id=known_id, units=units)
        await self._calls.ask_stock(request, stock_pb2.WithdrawResponse, self._limit_s(timeout_s))

    async def stock(
        self, sku: str, *, consistency: Consistency = Consistency.QUORUM, timeout_s: float | None = None
    ) -> Stock:
        """What is left and what is sold. Raises `SkuNotFound`."""
        request = stock_pb2.GetStockRequest(sku=sku, consistency=f"CONSISTENCY_{consistency.name}")
        answer = await self._calls.ask_stock(request, stock_pb2.GetStockResponse, self._limit_s(timeout_s))
        return read_stock(answer)

    async def watch_stock(self, sku: str, *, timeout_s: float | None = None) -> AsyncGenerator[Stock, None]:
        """The stock as it stands, and again whenever it has changed, some four times a second at most. It goes on by
        itself after a lost connection, without end unless there is a `timeout_s`.

        Raises `SkuNotFound`, and `Unavailable` when `timeout_s` is over.
        """
        stocks = self._calls.watch_stock(sku, timeout_s)
        async with aclosing(stocks):
            async for stock in stocks:
                yield read_stock(stock)

    async def list_skus(self, *, timeout_s: float | None = None) -> AsyncGenerator[SkuSummary, None]:
        """All SKUs, over all pages. `timeout_s` is for each page."""
        token = ""
        while True:
            request = stock_pb2.ListSkusRequest(page_size=SKUS_PER_PAGE, page_token=token)
            answer = await self._calls.ask_stock(request, stock_pb2.ListSkusResponse, self._limit_s(timeout_s))
            for summary in answer.skus:
                yield read_summary(summary)
            token = answer.next_page_token
            if not token:
                return

    def _submit(
        self, order_id: str, customer: str, lines: tuple[Line, ...], rest: bytes, deadline: float
    ) -> "asyncio.Future[bool]":
        try:
            return self._placing.submit(order_id, customer, lines, rest, deadline)
        except (ValueError, TypeError, AttributeError) as error:
            raise _unspeakable(error, order_id) from error

    def _limit_s(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


def _position_message(position: QueuePosition | None) -> orders_pb2.QueuePosition | None:
    return None if position is None else orders_pb2.QueuePosition(partition=position[0], offset=position[1])


def canonical_id(given: str | UUID) -> str:
    """As the server writes it. Raises InvalidOrder."""
    try:
        return str(given if isinstance(given, UUID) else UUID(given))
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidOrder((Violation("order_id", "must be a UUID"),)) from error


def _unspeakable(error: Exception, order_id: str | None = None) -> InvalidOrder:
    """Of what the contract has no room for, so that it cannot even be sent."""
    return InvalidOrder((Violation("order", str(error)),), order_id)
