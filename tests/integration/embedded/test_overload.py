"""More callers than a gateway can serve, for longer than a crowd takes: some are told OVERLOADED and when to come back;
of those who were told yes nobody is lost.
"""

import asyncio
from contextlib import AsyncExitStack

import grpc
from google.rpc import error_details_pb2

from commands.burst import new_orders
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc.channel import open_channel
from sluice.rpc.failure import PUSHBACK_KEY, failure_of, reason_of
from tests.integration.buying import connected, create_skus, quiet_stock
from tests.integration.embedded.conftest import Embedded, audit_files

CALLERS = 2_000
CHANNELS = 8
UNITS = 1_000_000
OVERLOADED_WITHIN_S = 120.0
CALL_TIMEOUT_S = 60.0


async def test_callers_beyond_what_is_served_are_refused_and_nothing_accepted_is_lost(
    gateway: Embedded, name: str
) -> None:
    accepted: set[str] = set()
    refused: dict[str, tuple[orders_pb2.PlaceOrderRequest, grpc.aio.AioRpcError]] = {}
    anybody_refused = asyncio.Event()
    async with AsyncExitStack() as opened:
        channels = [await opened.enter_async_context(open_channel(gateway.endpoint)) for _ in range(CHANNELS)]
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        (client,) = await opened.enter_async_context(connected([gateway.endpoint]))
        await create_skus(client, [name], UNITS)
        places = [
            channel.unary_unary(
                "/sluice.orders.v1.OrderService/PlaceOrder",
                request_serializer=orders_pb2.PlaceOrderRequest.SerializeToString,
                response_deserializer=orders_pb2.PlaceOrderResponse.FromString,
            )
            for channel in channels
        ]

        async def caller(number: int) -> None:
            while not anybody_refused.is_set():
                (order,) = new_orders(1, [name])
                try:
                    await places[number % CHANNELS](order, timeout=CALL_TIMEOUT_S)
                except grpc.aio.AioRpcError as error:
                    refused[order.order_id] = (order, error)
                    anybody_refused.set()
                else:
                    accepted.add(order.order_id)

        async with asyncio.timeout(OVERLOADED_WITHIN_S):
            await asyncio.gather(*(caller(number) for number in range(CALLERS)))

        for _, error in refused.values():
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
            assert int(dict(error.trailing_metadata() or ())[PUSHBACK_KEY]) > 0
            status = failure_of(error)
            assert status is not None
            assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)

        # The refused ones did not stand: sent again, when nobody else comes any more, each is new.
        for order, _ in refused.values():
            response = await places[0](order, timeout=CALL_TIMEOUT_S)
            assert not response.replayed
            accepted.add(order.order_id)

        assert (await quiet_stock(client, [name]))[name].sold == len(accepted)
    report = await audit_files(gateway)
    assert report.findings == []
    assert report.orders == len(accepted)
