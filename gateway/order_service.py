"""`OrderService` over gRPC."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import grpc

from gateway.changing import Changing, NotAllowed
from gateway.messages import (
    accepted_message,
    batch_answer,
    order_message,
    refusal_failure,
    refusal_result,
    state_failure,
)
from gateway.metrics import GatewayMetrics
from gateway.outcomes import RETRY_WHEN_AWAY_S, RETRY_WHEN_STOPPING_S, STOPPING, Outcome, Reason, Refused
from gateway.paging import make_token, page_size, read_token
from gateway.placing import Group
from gateway.shards import OrderShards
from gateway.validation import Violation, name_violations, parse_order, parse_uuid
from gateway.watches import Stopping
from gateway.watching import NoSuchOrder
from journal.protocol import Journals
from sluice._gen.orders.v1 import orders_pb2
from sluice.errors import JournalUnreachable, Overloaded
from sluice.model import MAX_ORDERS_PER_BATCH, NewOrder
from sluice.rpc import server
from sluice.rpc.failure import RpcFailure, invalid

SERVICE_NAME = "sluice.orders.v1.OrderService"

NO_DEADLINE_S = 30.0
"""For callers without a deadline: an order that has waited this long is not started any more."""


class OrderService:
    def __init__(
        self,
        shards: OrderShards,
        journals: Journals,
        *,
        max_batches_in_flight: int,
        metrics: GatewayMetrics,
    ) -> None:
        self._shards = shards
        self._journals = journals
        self._max_batches_in_flight = max_batches_in_flight
        self._metrics = metrics
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        return server.service(
            SERVICE_NAME,
            {
                "PlaceOrder": server.unary(self.place_order, orders_pb2.PlaceOrderRequest),
                "PlaceOrders": server.stream(self.place_orders, orders_pb2.PlaceOrdersRequest),
                "GetOrder": server.unary(self.get_order, orders_pb2.GetOrderRequest),
                "ListOrders": server.unary(self.list_orders, orders_pb2.ListOrdersRequest),
                "CancelOrder": server.unary(self.cancel_order, orders_pb2.CancelOrderRequest),
                "ConfirmOrder": server.unary(self.confirm_order, orders_pb2.ConfirmOrderRequest),
                "WatchOrder": server.server_stream(self.watch_order, orders_pb2.WatchOrderRequest),
            },
        )

    async def place_order(self, request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
        started = time.monotonic()
        order = parse_order(request)
        if not isinstance(order, NewOrder):
            self._metrics.refused(Reason.INVALID_ORDER, 1)
            raise invalid(order, Reason.INVALID_ORDER.value)
        try:
            (group,) = self._shards.submit([order], started + (context.time_remaining() or NO_DEADLINE_S))
        except Overloaded as error:
            raise refusal_failure(Refused(Reason.OVERLOADED, "", error.retry_after_s)) from error
        (outcome,) = await group.decided()
        self._metrics.place_seconds.observe(time.monotonic() - started)
        if isinstance(outcome, Refused):
            raise refusal_failure(outcome)
        return orders_pb2.PlaceOrderResponse(order=accepted_message(order, outcome), replayed=outcome.replayed)

    async def place_orders(
        self, requests: AsyncIterator[orders_pb2.PlaceOrdersRequest], context: Any
    ) -> AsyncIterator[orders_pb2.PlaceOrdersResponse]:
        """Reads ahead a bounded number of batches; answers in the order in which groups are decided."""
        answers: asyncio.Queue[orders_pb2.PlaceOrdersResponse | None] = asyncio.Queue()
        places = asyncio.Semaphore(self._max_batches_in_flight)
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read_batches(requests, context, places, answers, tasks))
            self._readers.add(reader)
            try:
                while (answer := await answers.get()) is not None:
                    yield answer
                    if answer.done:
                        places.release()  # only now: a client that does not read is not read either
            finally:
                self._readers.discard(reader)
                reader.cancel()

    def stop_reading(self) -> None:
        """Drains the streams: what was read is decided and answered, then the stream ends."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def get_order(self, request: orders_pb2.GetOrderRequest, context: Any) -> orders_pb2.GetOrderResponse:
        del context
        order_id, violations = parse_uuid(request.order_id, "order_id")
        if violations:
            raise invalid(violations)
        try:
            found = await self._journals.find_orders([order_id])
        except JournalUnreachable as error:
            raise _journal_unreachable() from error
        if order_id not in found:
            raise refusal_failure(Refused(Reason.ORDER_NOT_FOUND, order_id))
        return orders_pb2.GetOrderResponse(order=order_message(found[order_id]))

    async def list_orders(self, request: orders_pb2.ListOrdersRequest, context: Any) -> orders_pb2.ListOrdersResponse:
        del context
        customer_id = request.customer_id or None
        violations = name_violations(customer_id, "customer_id") if customer_id else []
        size, size_violations = page_size(request.page_size)
        before, token_violations = read_token(request.page_token, request.customer_id)
        if before is not None and parse_uuid(before, "page_token")[1]:
            token_violations = [Violation("page_token", "is not a token that this question was answered with")]
        violations += size_violations + token_violations
        if violations:
            raise invalid(violations)
        try:
            orders = await self._journals.list_orders(customer_id, before, size)
        except JournalUnreachable as error:
            raise _journal_unreachable() from error
        token = make_token(request.customer_id, orders[-1].order_id) if len(orders) == size else ""
        return orders_pb2.ListOrdersResponse(orders=[order_message(order) for order in orders], next_page_token=token)

    async def cancel_order(
        self, request: orders_pb2.CancelOrderRequest, context: Any
    ) -> orders_pb2.CancelOrderResponse:
        del context
        return orders_pb2.CancelOrderResponse(
            order=await _changed(request.order_id, lambda each: self._shards.of(each).cancelling)
        )

    async def confirm_order(
        self, request: orders_pb2.ConfirmOrderRequest, context: Any
    ) -> orders_pb2.ConfirmOrderResponse:
        del context
        return orders_pb2.ConfirmOrderResponse(
            order=await _changed(request.order_id, lambda each: self._shards.of(each).confirming)
        )

    async def watch_order(
        self, request: orders_pb2.WatchOrderRequest, context: Any
    ) -> AsyncGenerator[orders_pb2.WatchOrderResponse, None]:
        del context
        order_id, violations = parse_uuid(request.order_id, "order_id")
        if violations:
            raise invalid(violations)
        try:
            async with contextlib.aclosing(
                self._shards.of(order_id).watching.watch(order_id, request.after_version)
            ) as orders:
                async for order in orders:
                    yield orders_pb2.WatchOrderResponse(order=order_message(order))
        except NoSuchOrder as error:
            raise refusal_failure(Refused(Reason.ORDER_NOT_FOUND, order_id)) from error
        except JournalUnreachable as error:
            raise _journal_unreachable() from error
        except Overloaded as error:
            raise _watch_elsewhere(Reason.OVERLOADED.value, str(error), error.retry_after_s) from error
        except Stopping as error:
            raise _watch_elsewhere(STOPPING, "this gateway stops", RETRY_WHEN_STOPPING_S) from error

    async def _read_batches(
        self,
        requests: AsyncIterator[orders_pb2.PlaceOrdersRequest],
        context: Any,
        places: asyncio.Semaphore,
        answers: "asyncio.Queue[orders_pb2.PlaceOrdersResponse | None]",
        tasks: asyncio.TaskGroup,
    ) -> None:
        deciding: set[asyncio.Task[None]] = set()
        try:
            async for request in requests:
                await places.acquire()
                deadline = time.monotonic() + (context.time_remaining() or NO_DEADLINE_S)
                task = tasks.create_task(self._decide_batch(request, deadline, answers))
                deciding.add(task)
                task.add_done_callback(deciding.discard)
        except asyncio.CancelledError:
            if not self._draining:
                raise
        if deciding:
            await asyncio.wait(deciding)
        answers.put_nowait(None)

    async def _decide_batch(
        self,
        request: orders_pb2.PlaceOrdersRequest,
        deadline: float,
        answers: "asyncio.Queue[orders_pb2.PlaceOrdersResponse | None]",
    ) -> None:
        started = time.monotonic()
        batch_id = request.batch_id
        orders, results = _parse_batch(request)
        if results:
            self._metrics.refused(Reason.INVALID_ORDER, len(results))
        groups: list[Group] = []
        if orders:
            try:
                groups = self._shards.submit(orders, deadline)
            except Overloaded as error:
                refused = Refused(Reason.OVERLOADED, "", error.retry_after_s)
                results += [refusal_result(order.order_id, refused) for order in orders]
        if results or not groups:
            answers.put_nowait(orders_pb2.PlaceOrdersResponse(batch_id=batch_id, results=results, done=not groups))
        left = len(groups)
        for decided in asyncio.as_completed([_decided(group) for group in groups]):
            left -= 1
            group, outcomes = await decided
            answers.put_nowait(batch_answer(batch_id, group.orders, outcomes, done=left == 0))
        self._metrics.place_seconds.observe(time.monotonic() - started)


async def _changed(given_id: str, changing_of: Callable[[str], Changing]) -> orders_pb2.Order:
    order_id, violations = parse_uuid(given_id, "order_id")
    if violations:
        raise invalid(violations)
    match await changing_of(order_id).change(order_id):
        case Refused() as refused:
            raise refusal_failure(refused)
        case NotAllowed(order):
            raise state_failure(order)
        case order:
            return order_message(order)


async def _decided(group: Group) -> tuple[Group, list[Outcome]]:
    return group, await group.decided()


def _parse_batch(
    request: orders_pb2.PlaceOrdersRequest,
) -> tuple[list[NewOrder], list[orders_pb2.OrderResult]]:
    """The good orders, and a result for each bad one; all are bad if there are too many."""
    orders: list[NewOrder] = []
    results: list[orders_pb2.OrderResult] = []
    if len(request.orders) > MAX_ORDERS_PER_BATCH:
        too_many = Refused(Reason.INVALID_ORDER, f"orders: a batch has at most {MAX_ORDERS_PER_BATCH} orders")
        return [], [refusal_result(message.order_id, too_many) for message in request.orders]
    for index, message in enumerate(request.orders):
        order = parse_order(message)
        if isinstance(order, NewOrder):
            orders.append(order)
        else:
            text = "; ".join(f"orders[{index}].{field}: {description}" for field, description in order)
            results.append(refusal_result(message.order_id, Refused(Reason.INVALID_ORDER, text)))
    return orders, results


def _watch_elsewhere(reason: str, why: str, retry_after_s: float) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.UNAVAILABLE,
        reason,
        f"{why}: watch the order again, here later or at another gateway, from the last version that you were told",
        retry_after_s=retry_after_s,
    )


def _journal_unreachable() -> RpcFailure:
    return refusal_failure(Refused(Reason.JOURNAL_UNREACHABLE, "", RETRY_WHEN_AWAY_S))
