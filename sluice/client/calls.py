"""gRPC: the channel, the stream of orders, and other calls, which are sent again until they are answered."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from operator import methodcaller
from typing import Any

import grpc
from google.protobuf.message import Message

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.client.errors import Unavailable
from sluice.client.failures import CANCELLED, Failure, as_error, heard, passes, read_failure
from sluice.client.order_stream import StreamEnded
from sluice.client.retrying import CLOSED, gives_up, pause_s
from sluice.rpc.channel import CHANNEL_OPTIONS, Channel
from sluice.tls_files import Tls

_ORDERS = "sluice.orders.v1.OrderService"
_STOCK = "sluice.stock.v1.StockService"

_OPTIONS: Sequence[tuple[str, Any]] = (
    *CHANNEL_OPTIONS,
    # Of several addresses all are used, and one that is away is passed by.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    # gRPC's own retries know nothing of a caller's time over several attempts.
    ("grpc.enable_retries", 0),
)

_IN_VAIN = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
)
"""What another stream would be answered as well."""

_STOPPED = "STOPPED"
"""Heard of a server that has ended a stream in good order."""


_SERIALIZE = methodcaller("SerializeToString")


class CallEnded(Exception):
    """A stream has ended with a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Calls:
    """One channel. To be made inside a running event loop."""

    def __init__(self, target: str, tls: Tls | None) -> None:
        """Raises ValueError, which names the file of TLS that cannot be used."""
        self._channel: grpc.aio.Channel = Channel(target, _OPTIONS, tls)
        self._closed = False
        self._place_orders: Any = self._channel.stream_stream(
            f"/{_ORDERS}/PlaceOrders", response_deserializer=orders_pb2.PlaceOrdersResponse.FromString
        )
        self._watch_order: Any = self._channel.unary_stream(
            f"/{_ORDERS}/WatchOrder",
            request_serializer=_SERIALIZE,
            response_deserializer=orders_pb2.WatchOrderResponse.FromString,
        )
        self._watch_stock: Any = self._channel.unary_stream(
            f"/{_STOCK}/WatchStock",
            request_serializer=_SERIALIZE,
            response_deserializer=stock_pb2.WatchStockResponse.FromString,
        )

    def open_order_stream(self) -> "GrpcOrderStream":
        return GrpcOrderStream(self._place_orders())

    async def ask_orders(self, request: Message, answer: type[Message], timeout_s: float, order_id: str | None) -> Any:
        """`OrderService`: the method whose request this is. Raises the errors of this client."""
        return await self._ask(_ORDERS, request, answer, timeout_s, order_id)

    async def ask_stock(self, request: Message, answer: type[Message], timeout_s: float) -> Any:
        """`StockService`: the method whose request this is. Raises the errors of this client."""
        return await self._ask(_STOCK, request, answer, timeout_s, None)

    async def watch_order(
        self, request: orders_pb2.WatchOrderRequest, timeout_s: float | None
    ) -> AsyncGenerator[orders_pb2.Order, None]:
        """Goes on after every failure that passes, from the last version that it has yielded."""
        responses = self._watch(self._watch_order, request, timeout_s, request.order_id)
        async with aclosing(responses):
            async for response in responses:
                request.after_version = response.order.version
                yield response.order

    async def watch_stock(self, sku: str, timeout_s: float | None) -> AsyncGenerator[stock_pb2.GetStockResponse, None]:
        """Goes on after every failure that passes, from the last one that it has yielded."""
        request = stock_pb2.WatchStockRequest(sku=sku)
        responses = self._watch(self._watch_stock, request, timeout_s, None)
        async with aclosing(responses):
            async for response in responses:
                request.resume_token = response.resume_token
                yield response.stock

    async def _watch(
        self, method: Any, request: Message, timeout_s: float | None, order_id: str | None
    ) -> AsyncGenerator[Any, None]:
        """Opened again after every failure that passes. Who reads it keeps in `request` where to go on."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        attempts = 0
        while True:
            attempts += 1
            left = None if deadline is None else max(0.0, deadline - loop.time())
            call = method(request, timeout=left)
            try:
                while (response := await _next(call)) is not grpc.aio.EOF:
                    attempts = 1
                    yield response
            except CallEnded as ended:
                await self._pause(ended.failure, attempts, deadline, order_id)
            else:
                return
            finally:
                call.cancel()

    async def close(self) -> None:
        self._closed = True
        await self._channel.close()

    async def _ask(
        self, service: str, request: Message, answer: type[Message], timeout_s: float, order_id: str | None
    ) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        name = type(request).__name__.removesuffix("Request")
        method: Any = self._channel.unary_unary(
            f"/{service}/{name}", request_serializer=_SERIALIZE, response_deserializer=answer.FromString
        )
        attempts = 0
        while True:
            attempts += 1
            try:
                return await method(request, timeout=max(0.0, deadline - loop.time()))
            except grpc.aio.AioRpcError as error:
                failure = read_failure(error)
            await self._pause(failure, attempts, deadline, order_id)

    async def _pause(self, failure: Failure, attempts: int, deadline: float | None, order_id: str | None) -> None:
        """Until the call may be sent again. Raises what the caller is told if it may not."""
        if not passes(failure):
            raise as_error(failure, order_id or "")
        reason = CLOSED if self._closed else heard(failure)
        pause = pause_s(reason, attempts, random.random, failure.advised_s)
        late = deadline is not None and asyncio.get_running_loop().time() + pause >= deadline
        if late or self._closed or gives_up(reason, attempts):
            raise Unavailable(reason, order_id)
        await asyncio.sleep(pause)


class GrpcOrderStream:
    """`OrderStream` on a call."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def connected(self) -> None:
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise StreamEnded(heard(read_failure(error))) from error

    async def write(self, message: bytes) -> None:
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise StreamEnded(_STOPPED) from error

    async def read(self) -> orders_pb2.PlaceOrdersResponse:
        try:
            answer = await _next(self._call)
        except CallEnded as ended:
            failure = ended.failure
            in_vain = partial(as_error, failure) if failure.code in _IN_VAIN else None
            raise StreamEnded(heard(failure), advised_s=failure.advised_s, failure=in_vain) from ended
        if answer is grpc.aio.EOF:
            raise StreamEnded(_STOPPED, graceful=True)
        return answer  # type: ignore[no-any-return]

    def cancel(self) -> None:
        self._call.cancel()


async def _next(call: Any) -> Any:
    """The next message of a call, or EOF. Raises CallEnded."""
    try:
        return await call.read()
    except grpc.aio.AioRpcError as error:
        raise CallEnded(read_failure(error)) from error
    except asyncio.CancelledError as error:
        # grpc.aio raises it also for a call that the server has cancelled; this task goes on then.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise CallEnded(CANCELLED) from error
