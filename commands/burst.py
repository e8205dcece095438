"""A burst of orders over real gRPC, all at once, and what each of them was told."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.client.order_ids import new_order_id
from sluice.rpc.channel import CHANNEL_OPTIONS
from sluice.rpc.failure import reason_of

ORDER_TIMEOUT_S = 30.0
ACCEPTED = "ACCEPTED"


class Answer(NamedTuple):
    """`told` is ACCEPTED, the reason of a refusal, or the status code of a call without a reason."""

    order_id: str
    told: str
    replayed: bool
    latency_s: float


class Burst(NamedTuple):
    answers: Sequence[Answer]
    elapsed_s: float

    def told(self) -> Counter[str]:
        return Counter(answer.told for answer in self.answers)

    def accepted_ids(self) -> set[str]:
        return {answer.order_id for answer in self.answers if answer.told == ACCEPTED}

    def percentile_ms(self, share: float) -> float:
        """The smallest latency that at least `share` of all answers did not exceed."""
        latencies = sorted(answer.latency_s for answer in self.answers)
        return latencies[max(0, math.ceil(share * len(latencies)) - 1)] * 1000


def new_orders(count: int, skus: Sequence[str]) -> list[orders_pb2.PlaceOrderRequest]:
    """One-unit orders, each of its own customer, over the SKUs in turn."""
    return [
        orders_pb2.PlaceOrderRequest(
            order_id=new_order_id(),
            customer_id=f"customer-{number}",
            lines=[orders_pb2.OrderLine(sku=skus[number % len(skus)], quantity=1)],
        )
        for number in range(count)
    ]


class Clients:
    """Several channels, each with its own connection, to one or more gateways in turn."""

    def __init__(self, endpoints: Sequence[str], channel_count: int) -> None:
        self._channels = [
            grpc.aio.insecure_channel(endpoints[number % len(endpoints)], options=CHANNEL_OPTIONS)
            for number in range(channel_count)
        ]
        self._place = [_method(channel, "PlaceOrder") for channel in self._channels]

    async def connect(self) -> None:
        """Connections are made before the burst, as real clients have them."""
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def create_skus(self, skus: Sequence[str], units: int, policy: str = "escrow") -> None:
        create = self._channels[0].unary_unary(
            "/sluice.stock.v1.StockService/CreateSku",
            request_serializer=stock_pb2.CreateSkuRequest.SerializeToString,
            response_deserializer=stock_pb2.CreateSkuResponse.FromString,
        )
        for sku in skus:
            request = stock_pb2.CreateSkuRequest(sku=sku, units=units, policy=f"STOCK_POLICY_{policy.upper()}")
            await create(request, timeout=ORDER_TIMEOUT_S)

    async def place_all(self, orders: Sequence[orders_pb2.PlaceOrderRequest]) -> Burst:
        """Sends all at once, spread over the channels."""
        started = time.perf_counter()
        answers = await asyncio.gather(
            *(self._place_one(self._place[number % len(self._place)], order) for number, order in enumerate(orders))
        )
        return Burst(answers, time.perf_counter() - started)

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def _place_one(self, place: Any, order: orders_pb2.PlaceOrderRequest) -> Answer:
        started = time.perf_counter()
        try:
            response = await place(order, timeout=ORDER_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            told = reason_of(error) or error.code().name
            return Answer(order.order_id, told, replayed=False, latency_s=time.perf_counter() - started)
        return Answer(order.order_id, ACCEPTED, response.replayed, time.perf_counter() - started)


def _method(channel: grpc.aio.Channel, name: str) -> Any:
    return channel.unary_unary(
        f"/sluice.orders.v1.OrderService/{name}",
        request_serializer=orders_pb2.PlaceOrderRequest.SerializeToString,
        response_deserializer=orders_pb2.PlaceOrderResponse.FromString,
    )
