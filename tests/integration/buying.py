"""Buyers for the tests: connections to gateways, what each call was told, and orders sent again until answered."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.client.order_ids import new_order_id
from sluice.rpc.channel import open_channel
from sluice.rpc.failure import PUSHBACK_KEY, failure_of

OUT_OF_STOCK = "OUT_OF_STOCK"
FEWER_AVAILABLE = "FEWER_AVAILABLE"
CALL_LIMIT_S = 30.0
"""Generous: the machine that runs the tests is busy, and promises about time are checked by the clock instead."""

RETRY_PAUSE_S = 0.05
QUIET_POLL_S = 0.1


class Reply(NamedTuple):
    """What one call was told. `told` is ACCEPTED for any OK, else the reason, else the status code's name."""

    request: Any
    response: Any
    told: str
    code: grpc.StatusCode
    latency_s: float
    blamed: Mapping[str, str] = MappingProxyType({})
    violations: tuple[str, ...] = ()
    retry_delay_s: float | None = None
    pushback_ms: str | None = None
    attempts: int = 1


class Client:
    """One connection to one gateway."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.channel = open_channel(endpoint)
        self.place_order = self._unary("orders", "PlaceOrder", orders_pb2.PlaceOrderResponse)
        self.get_order = self._unary("orders", "GetOrder", orders_pb2.GetOrderResponse)
        self.list_orders = self._unary("orders", "ListOrders", orders_pb2.ListOrdersResponse)
        self.cancel_order = self._unary("orders", "CancelOrder", orders_pb2.CancelOrderResponse)
        self.confirm_order = self._unary("orders", "ConfirmOrder", orders_pb2.ConfirmOrderResponse)
        self.create_sku = self._unary("stock", "CreateSku", stock_pb2.CreateSkuResponse)
        self.restock = self._unary("stock", "Restock", stock_pb2.RestockResponse)
        self.withdraw = self._unary("stock", "Withdraw", stock_pb2.WithdrawResponse)
        self.spread_sku = self._unary("stock", "SpreadSku", stock_pb2.SpreadSkuResponse)
        self.get_stock = self._unary("stock", "GetStock", stock_pb2.GetStockResponse)
        self.list_skus = self._unary("stock", "ListSkus", stock_pb2.ListSkusResponse)
        self.set_customer_limit = self._unary("stock", "SetCustomerLimit", stock_pb2.SetCustomerLimitResponse)
        self.get_customer_limit = self._unary("stock", "GetCustomerLimit", stock_pb2.GetCustomerLimitResponse)
        self.check_health = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    def place_orders(self, timeout_s: float = CALL_LIMIT_S, metadata: Sequence[tuple[str, str]] = ()) -> Any:
        method = self.channel.stream_stream(
            "/sluice.orders.v1.OrderService/PlaceOrders",
            request_serializer=orders_pb2.PlaceOrdersRequest.SerializeToString,
            response_deserializer=orders_pb2.PlaceOrdersResponse.FromString,
        )
        return method(timeout=timeout_s, metadata=tuple(metadata))

    def watch_stock(self, sku: str, resume_token: str = "", timeout_s: float = CALL_LIMIT_S) -> Any:
        method = self.channel.unary_stream(
            "/sluice.stock.v1.StockService/WatchStock",
            request_serializer=stock_pb2.WatchStockRequest.SerializeToString,
            response_deserializer=stock_pb2.WatchStockResponse.FromString,
        )
        return method(stock_pb2.WatchStockRequest(sku=sku, resume_token=resume_token), timeout=timeout_s)

    def watch_order(
        self, order_id: str, after_version: int = 0, timeout_s: float = CALL_LIMIT_S, position: Any = None
    ) -> Any:
        method = self.channel.unary_stream(
            "/sluice.orders.v1.OrderService/WatchOrder",
            request_serializer=orders_pb2.WatchOrderRequest.SerializeToString,
            response_deserializer=orders_pb2.WatchOrderResponse.FromString,
        )
        request = orders_pb2.WatchOrderRequest(order_id=order_id, after_version=after_version, queue_position=position)
        return method(request, timeout=timeout_s)

    async def serving(self) -> bool:
        try:
            response = await self.check_health(health_pb2.HealthCheckRequest(), timeout=2.0)
        except grpc.aio.AioRpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def _unary(self, area: str, method: str, response: Any) -> Any:
        service = {"orders": "sluice.orders.v1.OrderService", "stock": "sluice.stock.v1.StockService"}[area]
        return self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )


@asynccontextmanager
async def connected(endpoints: Sequence[str], count: int | None = None) -> AsyncIterator[list[Client]]:
    """`count` connections spread over the endpoints, made before anything is sent; by default one to each."""
    clients = [Client(endpoints[number % len(endpoints)]) for number in range(count or len(endpoints))]
    try:
        await asyncio.gather(*(client.channel.channel_ready() for client in clients))
        yield clients
    finally:
        await asyncio.gather(*(client.channel.close() for client in clients))


async def ask(method: Any, request: Any, timeout_s: float = CALL_LIMIT_S) -> Reply:
    """One unary call, whatever becomes of it."""
    started = time.perf_counter()
    try:
        response = await method(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        return _refusal(request, error, time.perf_counter() - started)
    return Reply(request, response, ACCEPTED, grpc.StatusCode.OK, time.perf_counter() - started)


def _refusal(request: Any, error: grpc.aio.AioRpcError, latency_s: float) -> Reply:
    status = failure_of(error)
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_delay_s = None
    for detail in status.details if status else ():
        detail.Unpack(info)
        detail.Unpack(bad)
        if detail.Unpack(retry):
            retry_delay_s = retry.retry_delay.ToMilliseconds() / 1000
    trailers = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    return Reply(
        request,
        None,
        info.reason or error.code().name,
        error.code(),
        latency_s,
        dict(info.metadata),
        tuple(violation.field for violation in bad.field_violations),
        retry_delay_s,
        trailers.get(PUSHBACK_KEY),
    )


def order(
    lines: dict[str, int],
    customer_id: str = "anna",
    order_id: str | None = None,
    hold_s: float | None = None,
    priority: int = 0,
) -> orders_pb2.PlaceOrderRequest:
    request = orders_pb2.PlaceOrderRequest(
        order_id=order_id or new_order_id(),
        customer_id=customer_id,
        lines=[orders_pb2.OrderLine(sku=sku, quantity=quantity) for sku, quantity in lines.items()],
        priority=priority,
    )
    if hold_s is not None:
        request.hold.FromTimedelta(timedelta(seconds=hold_s))
    return request


async def create_skus(
    client: Client, skus: Sequence[str], units: int, policy: str = "STOCK_POLICY_UNSPECIFIED"
) -> None:
    requests = [stock_pb2.CreateSkuRequest(sku=sku, units=units, policy=policy) for sku in skus]
    await asyncio.gather(*(client.create_sku(request, timeout=CALL_LIMIT_S) for request in requests))


async def place_all(clients: Sequence[Client], orders: Sequence[orders_pb2.PlaceOrderRequest]) -> list[Reply]:
    """All at once, spread over the clients in turn."""
    return await asyncio.gather(
        *(ask(clients[number % len(clients)].place_order, each) for number, each in enumerate(orders))
    )


UNANSWERED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


async def place_until_answered(
    clients: Sequence[Client], request: orders_pb2.PlaceOrderRequest, first: int = 0, attempt_limit_s: float = 5.0
) -> Reply:
    """As a patient buyer does: while nobody gives a final answer, the same order again, to the next gateway."""
    attempt = first
    while True:
        reply = await ask(clients[attempt % len(clients)].place_order, request, attempt_limit_s)
        if reply.code not in UNANSWERED:
            return reply._replace(attempts=attempt - first + 1)
        attempt += 1
        await asyncio.sleep(RETRY_PAUSE_S)


async def place_all_until_answered(
    clients: Sequence[Client],
    orders: Sequence[orders_pb2.PlaceOrderRequest],
    in_the_middle: Callable[[], Awaitable[None]],
) -> list[Reply]:
    """A burst of patient buyers; `in_the_middle` runs once a fifth of them have their answer and the others wait."""
    answered = 0
    fifth = asyncio.Event()

    async def buy(number: int, request: orders_pb2.PlaceOrderRequest) -> Reply:
        nonlocal answered
        reply = await place_until_answered(clients, request, number)
        answered += 1
        if answered >= len(orders) // 5:
            fifth.set()
        return reply

    async def break_in() -> None:
        await fifth.wait()
        assert answered < len(orders), "the burst was over before anything was broken"
        await in_the_middle()

    *replies, _ = await asyncio.gather(*(buy(number, each) for number, each in enumerate(orders)), break_in())
    return [reply for reply in replies if reply is not None]


async def send_batches(client: Client, batches: Sequence[Sequence[Any]]) -> list[orders_pb2.OrderResult]:
    """The batches over one stream; every result, after checking that each batch was answered whole, once."""
    stream = client.place_orders()
    results: dict[int, list[orders_pb2.OrderResult]] = {number: [] for number in range(len(batches))}
    done: list[int] = []

    async def read() -> None:
        async for answer in stream:
            assert answer.batch_id not in done, "an answer after the last one of its batch"
            results[answer.batch_id] += answer.results
            if answer.done:
                done.append(answer.batch_id)

    reader = asyncio.ensure_future(read())
    for number, batch in enumerate(batches):
        await stream.write(orders_pb2.PlaceOrdersRequest(batch_id=number, orders=batch))
    await stream.done_writing()
    await reader
    assert sorted(done) == list(range(len(batches)))
    for number, batch in enumerate(batches):
        assert Counter(each.order_id for each in batch) == Counter(each.order_id for each in results[number])
    return [result for number in range(len(batches)) for result in results[number]]


def told(replies: Sequence[Reply]) -> Counter[str]:
    return Counter(reply.told for reply in replies)


def accepted(replies: Sequence[Reply]) -> list[orders_pb2.PlaceOrderRequest]:
    return [reply.request for reply in replies if reply.told == ACCEPTED]


def units_of(requests: Sequence[orders_pb2.PlaceOrderRequest]) -> Counter[str]:
    units: Counter[str] = Counter()
    for request in requests:
        for line in request.lines:
            units[line.sku] += line.quantity
    return units


async def stock_of(client: Client, sku: str) -> stock_pb2.GetStockResponse:
    request = stock_pb2.GetStockRequest(sku=sku, consistency=stock_pb2.CONSISTENCY_STRONG)
    # Of a gateway that was started again a moment ago gRPC may still say that it refuses connections.
    response: stock_pb2.GetStockResponse = await client.get_stock(request, timeout=CALL_LIMIT_S, wait_for_ready=True)
    return response


async def quiet_stock(
    client: Client, skus: Sequence[str], limit_s: float = 15.0
) -> dict[str, stock_pb2.GetStockResponse]:
    """Every SKU's stock once nothing of it is in escrow any more. Fails if units stay there."""
    deadline = time.monotonic() + limit_s
    found = {}
    for sku in skus:
        while (stock := await stock_of(client, sku)).escrow:
            assert time.monotonic() < deadline, f"{stock.escrow} units of {sku} are still in escrow"
            await asyncio.sleep(QUIET_POLL_S)
        assert stock.available + stock.sold == stock.restocked, stock
        found[sku] = stock
    return found


async def until(
    what: str, holds: Callable[[], Awaitable[bool]], limit_s: float = 30.0, poll_s: float = QUIET_POLL_S
) -> float:
    """Asks until it holds; returns how long that took, in seconds."""
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() < started + limit_s, f"not within {limit_s:g} s: {what}"
        await asyncio.sleep(poll_s)
    return time.monotonic() - started
