"""`OrderService` over gRPC."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import grpc

from gateway import order_batches
from gateway.admission import RETRY_WHEN_OVERLOADED_S, Admission
from gateway.batch_reading import OrderBatch, read_batch
from gateway.changing import Changing, NotAllowed
from gateway.group import Group
from gateway.messages import (
    accepted_message,
    order_message,
    refusal_failure,
    refusal_result,
    state_failure,
)
from gateway.metrics import GatewayMetrics
from gateway.outcomes import RETRY_WHEN_AWAY_S, RETRY_WHEN_STOPPING_S, STOPPING, Queued, Reason, Refused
from gateway.paging import make_token, page_size, read_token
from gateway.queueing import Queueing, pending_order
from gateway.shards import OrderShards
from gateway.validation import Violation, name_violations, parse_order, parse_uuid
from gateway.watches import Stopping
from gateway.watching import NoSuchOrder
from journal.protocol import Journals
from sluice._gen.orders.v1 import orders_pb2
from sluice.errors import JournalUnreachable, LogUnreachable, Overloaded
from sluice.model import NewOrder, QueuePosition
from sluice.rpc import server
from sluice.rpc.failure import RpcFailure, invalid
from sluice.rpc.taking_calls import Surplus
from sluice.trace_context import trace_context

SERVICE_NAME = "sluice.orders.v1.OrderService"

NO_DEADLINE_S = 30.0
"""For callers without a deadline: an order that has waited this long is not started any more."""


class OrderService:
    def __init__(
        self,
        shards: OrderShards,
        queueing: Queueing,
        journals: Journals,
        *,
        admission: Admission,
        max_batches_in_flight: int,
        metrics: GatewayMetrics,
    ) -> None:
        self._admission = admission
        self._shards = shards
        self._queueing = queueing
        self._journals = journals
        self._max_batches_in_flight = max_batches_in_flight
        self._metrics = metrics
        self._readers: set[asyncio.Task[None]] = set()
        self._no_streams = asyncio.Event()
        self._no_streams.set()
        self._draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        return server.service(
            SERVICE_NAME,
            {
                "PlaceOrder": server.unary(self.place_order, orders_pb2.PlaceOrderRequest),
                "PlaceOrders": server.stream(self.place_orders, read_batch),
                "GetOrder": server.unary(self.get_order, orders_pb2.GetOrderRequest),
                "ListOrders": server.unary(self.list_orders, orders_pb2.ListOrdersRequest),
                "CancelOrder": server.unary(self.cancel_order, orders_pb2.CancelOrderRequest),
                "ConfirmOrder": server.unary(self.confirm_order, orders_pb2.ConfirmOrderRequest),
                "WatchOrder": server.server_stream(self.watch_order, orders_pb2.WatchOrderRequest),
            },
        )

    def surplus(self) -> Surplus:
        """What becomes of single orders that find more waiting before them than admission has room for."""
        overloaded = refusal_failure(Refused(Reason.OVERLOADED, "", RETRY_WHEN_OVERLOADED_S))
        return Surplus(f"/{SERVICE_NAME}/PlaceOrder", overloaded, self._room, self._count_surplus)

    def _room(self) -> int:
        return self._admission.room(time.monotonic())

    def _count_surplus(self) -> None:
        self._admission.refused()
        self._metrics.refused(Reason.OVERLOADED, 1)

    async def place_order(self, request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
        with self._admission:
            return await self._place_order(request, context)

    async def _place_order(self, request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
        started = time.monotonic()
        order = parse_order(request, trace_context(context.invocation_metadata()))
        if not isinstance(order, NewOrder):
            self._metrics.refused(Reason.INVALID_ORDER, 1)
            raise invalid(order, Reason.INVALID_ORDER.value)
        if request.mode == orders_pb2.MODE_QUEUED:
            return await self._queue_order(order)
        try:
            time_left_s = server.time_left_s(context, without_deadline_s=NO_DEADLINE_S)
            (group,) = self._shards.submit([order], started + time_left_s)
        except Overloaded as error:
            raise refusal_failure(Refused(Reason.OVERLOADED, "", error.retry_after_s)) from error
        (outcome,) = await group.decided()
        self._metrics.place_seconds.observe(time.monotonic() - started)
        if isinstance(outcome, Refused):
            raise refusal_failure(outcome)
        return orders_pb2.PlaceOrderResponse(order=accepted_message(order, outcome), replayed=outcome.replayed)

    async def _queue_order(self, order: NewOrder) -> orders_pb2.PlaceOrderResponse:
        (outcome,) = await self._queueing.queue([order])
        match outcome:
            case Refused():
                raise refusal_failure(outcome)
            case Queued():
                message = order_message(pending_order(order, outcome))
            case accepted:
                message = accepted_message(order, accepted)
        return orders_pb2.PlaceOrderResponse(order=message, replayed=outcome.replayed)

    async def place_orders(
        self, requests: AsyncIterator[OrderBatch], context: Any
    ) -> AsyncIterator[orders_pb2.PlaceOrdersResponse]:
        """Reads ahead a bounded number of batches; answers in the order in which groups are decided."""
        if self._draining:
            raise _elsewhere(STOPPING, "this gateway stops: open the stream again", RETRY_WHEN_STOPPING_S)
        answers: asyncio.Queue[orders_pb2.PlaceOrdersResponse | None] = asyncio.Queue()
        places = asyncio.Semaphore(self._max_batches_in_flight)
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read_batches(requests, context, places, answers, tasks))
            self._readers.add(reader)
            self._no_streams.clear()
            try:
                while (answer := await answers.get()) is not None:
                    yield answer
                    if answer.done:
                        places.release()  # only now: a client that does not read is not read either
            finally:
                self._readers.discard(reader)
                if not self._readers:
                    self._no_streams.set()
                reader.cancel()

    async def end_streams(self, limit_s: float) -> bool:
        """Drains the streams: what was read is decided and answered, then each ends; within the limit. Returns whether
        any was open.
        """
        self._draining = True
        any_open = bool(self._readers)
        for reader in self._readers:
            reader.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._no_streams.wait()
        return any_open

    async def get_order(self, request: orders_pb2.GetOrderRequest, context: Any) -> orders_pb2.GetOrderResponse:
        del context
        order_id, violations = parse_uuid(request.order_id, "order_id")
        if violations:
            raise invalid(violations)
        try:
            found = await self._journals.find_orders([order_id])
            order = found.get(order_id) or await self._queueing.find(order_id, _position_of(request))
        except JournalUnreachable as error:
            raise _journal_unreachable() from error
        except LogUnreachable as error:
            raise _queue_unreachable() from error
        if order is None:
            raise refusal_failure(Refused(Reason.ORDER_NOT_FOUND, order_id))
        return orders_pb2.GetOrderResponse(order=order_message(order))

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
        order = await self._changed(lambda each: self._shards.of(each).cancelling, request.order_id, context)
        return orders_pb2.CancelOrderResponse(order=order)

    async def confirm_order(
        self, request: orders_pb2.ConfirmOrderRequest, context: Any
    ) -> orders_pb2.ConfirmOrderResponse:
        order = await self._changed(lambda each: self._shards.of(each).confirming, request.order_id, context)
        return orders_pb2.ConfirmOrderResponse(order=order)

    async def _changed(self, changing_of: Callable[[str], Changing], given_id: str, context: Any) -> orders_pb2.Order:
        order_id, violations = parse_uuid(given_id, "order_id")
        if violations:
            raise invalid(violations)
        match await changing_of(order_id).change(order_id, trace_context(context.invocation_metadata())):
            case Refused(Reason.ORDER_NOT_FOUND) as refused:
                with contextlib.suppress(LogUnreachable):
                    if (pending := await self._queueing.find(order_id, None)) is not None:
                        raise state_failure(pending)
                raise refusal_failure(refused)
            case Refused() as refused:
                raise refusal_failure(refused)
            case NotAllowed(order):
                raise state_failure(order)
            case order:
                return order_message(order)

    async def watch_order(
        self, request: orders_pb2.WatchOrderRequest, context: Any
    ) -> AsyncGenerator[orders_pb2.WatchOrderResponse, None]:
        del context
        order_id, violations = parse_uuid(request.order_id, "order_id")
        if violations:
            raise invalid(violations)
        try:
            watching = self._shards.of(order_id).watching
            watch = watching.watch(order_id, request.after_version, _position_of(request))
            async with contextlib.aclosing(watch) as orders:
                async for order in orders:
                    yield orders_pb2.WatchOrderResponse(order=order_message(order))
        except NoSuchOrder as error:
            raise refusal_failure(Refused(Reason.ORDER_NOT_FOUND, order_id)) from error
        except JournalUnreachable as error:
            raise _journal_unreachable() from error
        except LogUnreachable as error:
            raise _queue_unreachable() from error
        except Overloaded as error:
            raise _watch_elsewhere(Reason.OVERLOADED.value, str(error), error.retry_after_s) from error
        except Stopping as error:
            raise _watch_elsewhere(STOPPING, "this gateway stops", RETRY_WHEN_STOPPING_S) from error

    async def _read_batches(
        self,
        requests: AsyncIterator[OrderBatch],
        context: Any,
        places: asyncio.Semaphore,
        answers: "asyncio.Queue[orders_pb2.PlaceOrdersResponse | None]",
        tasks: asyncio.TaskGroup,
    ) -> None:
        deciding: set[asyncio.Task[None]] = set()
        trace = trace_context(context.invocation_metadata())
        try:
            async for batch in requests:
                await places.acquire()
                deadline = time.monotonic() + server.time_left_s(context, without_deadline_s=NO_DEADLINE_S)
                of_trace = batch if trace is None else batch.traced(trace)
                task = tasks.create_task(self._decide_batch(of_trace, deadline, answers))
                deciding.add(task)
                task.add_done_callback(deciding.discard)
        except asyncio.CancelledError:
            if not self._draining:
                raise
        if deciding:
            await asyncio.wait(deciding)
        answers.put_nowait(None)

    async def _decide_batch(
        self, batch: OrderBatch, deadline: float, answers: "asyncio.Queue[orders_pb2.PlaceOrdersResponse | None]"
    ) -> None:
        started = time.monotonic()
        batch_id = batch.batch_id
        to_decide, to_queue, results = order_batches.sort_out(batch)
        if results:
            self._metrics.refused(Reason.INVALID_ORDER, len(results))
        groups: list[Group] = []
        if to_decide:
            try:
                groups = self._shards.submit(to_decide, deadline)
            except Overloaded as error:
                refused = Refused(Reason.OVERLOADED, "", error.retry_after_s)
                results += [refusal_result(order.order_id, refused) for order in to_decide]
        coming = [order_batches.decided(batch_id, group) for group in groups]
        if to_queue:
            coming.append(order_batches.queued(batch_id, to_queue, self._queueing))
        left = len(coming)
        if results or not left:
            answers.put_nowait(orders_pb2.PlaceOrdersResponse(batch_id=batch_id, results=results, done=not left))
        # Mostly there is one group, and `as_completed` costs two tasks.
        for each in coming if left == 1 else asyncio.as_completed(coming):
            left -= 1
            answer = await each
            answers.put_nowait(answer(done=left == 0))
        self._metrics.place_seconds.observe(time.monotonic() - started)


def _position_of(request: orders_pb2.GetOrderRequest | orders_pb2.WatchOrderRequest) -> QueuePosition | None:
    if not request.HasField("queue_position"):
        return None
    return QueuePosition(request.queue_position.partition, request.queue_position.offset)


def _watch_elsewhere(reason: str, why: str, retry_after_s: float) -> RpcFailure:
    return _elsewhere(reason, f"{why}: watch the order again, from the last version that you were told", retry_after_s)


def _elsewhere(reason: str, why: str, retry_after_s: float) -> RpcFailure:
    message = f"{why}, here later or at another gateway"
    return RpcFailure(grpc.StatusCode.UNAVAILABLE, reason, message, retry_after_s=retry_after_s)


def _journal_unreachable() -> RpcFailure:
    return refusal_failure(Refused(Reason.JOURNAL_UNREACHABLE, "", RETRY_WHEN_AWAY_S))


def _queue_unreachable() -> RpcFailure:
    return refusal_failure(Refused(Reason.QUEUE_UNREACHABLE, "", RETRY_WHEN_AWAY_S))
