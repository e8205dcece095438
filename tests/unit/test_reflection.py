"""Reflection answers what ghz and grpcurl ask for: services, messages, and methods by their full name."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc import reflection, server

ORDERS_FILE = orders_pb2.DESCRIPTOR.serialized_pb
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]


@pytest.fixture
async def asking() -> AsyncIterator[Any]:
    reflecting = server.new_server()
    reflection.enable(reflecting, ["sluice.orders.v1.OrderService"])
    port = await server.start(reflecting, "127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield reflection_pb2_grpc.ServerReflectionStub(channel)
    await reflecting.stop(None)


async def _ask(asking: Any, symbol: str) -> Any:
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
    (answer,) = [answer async for answer in asking.ServerReflectionInfo(iter([question]))]
    return answer


@pytest.mark.parametrize(
    "symbol",
    [
        "sluice.orders.v1.OrderService",
        "sluice.orders.v1.OrderService.PlaceOrder",
        "sluice.orders.v1.PlaceOrderRequest",
        "sluice.orders.v1.Order.state",
    ],
)
async def test_a_symbol_leads_to_its_file(asking: Any, symbol: str) -> None:
    answer = await _ask(asking, symbol)
    assert ORDERS_FILE in answer.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize("symbol", ["sluice.orders.v1.OrderService.NoSuchMethod", "no.such.Service.Method", "nothing"])
async def test_what_is_not_there_is_not_found(asking: Any, symbol: str) -> None:
    answer = await _ask(asking, symbol)
    assert answer.error_response.error_code == NOT_FOUND


async def test_services_are_listed(asking: Any) -> None:
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = [answer async for answer in asking.ServerReflectionInfo(iter([question]))]
    names = {service.name for service in answer.list_services_response.service}
    assert names == {"sluice.orders.v1.OrderService", reflection.SERVICE_NAME}
