"""`python -m bench.capacity.carts`: messages of orders with several lines each, on one stream."""

import gc
import time
from dataclasses import dataclass

import uvloop

from bench.loads.stream import send_messages
from bench.loads.tally import Tally
from bench.workers import read_settings, say_ready, say_result
from commands.process import GC_THRESHOLDS
from sluice._gen.orders.v1 import orders_pb2
from sluice.client.order_ids import new_order_id
from sluice.rpc.channel import open_channel

CUSTOMERS = 1_000


@dataclass(frozen=True)
class Carts:
    """`messages` of `batch` orders; each order has one unit of every SKU."""

    endpoint: str
    skus: list[str]
    batch: int
    in_flight: int
    warm_messages: int
    messages: int


async def drive(load: Carts) -> None:
    warm = [_message(load, number) for number in range(load.warm_messages)]
    requests = [_message(load, number) for number in range(load.messages)]
    async with open_channel(load.endpoint) as channel:
        await channel.channel_ready()
        warmed = Tally()
        await send_messages(channel, iter(warm), load.in_flight, warmed)
        say_ready()
        tally = Tally()
        started = time.perf_counter()
        await send_messages(channel, iter(requests), load.in_flight, tally)
        say_result(tally.as_result(time.perf_counter() - started) | {"warm_refused": warmed.refusals()})


def _message(load: Carts, number: int) -> bytes:
    lines = [orders_pb2.OrderLine(sku=sku, quantity=1) for sku in load.skus]
    orders = [
        orders_pb2.PlaceOrderRequest(order_id=new_order_id(), customer_id=f"customer-{n % CUSTOMERS:04}", lines=lines)
        for n in range(load.batch)
    ]
    return orders_pb2.PlaceOrdersRequest(batch_id=number, orders=orders).SerializeToString()


if __name__ == "__main__":
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(drive(Carts(**read_settings())))
