"""What people outside have: the proto files, a stub generator, reflection, grpcurl, ghz."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.buying import Client, create_skus, stock_of
from tests.integration.embedded.conftest import Embedded

PROTO = Path(__file__).parents[3] / "proto"
ORDERS_PROTO = PROTO / "sluice/orders/v1/orders.proto"


def tool(name: str, module: str) -> str:
    """The program's path, or the test is skipped with how to get it."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:{Path.home() / 'go/bin'}")
    if found is None:
        pytest.skip(f"{name} is not installed: go install {module}@latest")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_stubs_generated_from_the_proto_files_place_an_order(
    gateway: Embedded, clients: list[Client], name: str, tmp_path: Path
) -> None:
    """In a process of its own, which has nothing of ours on its path but the generated files."""
    await create_skus(clients[0], [name], 5)
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    out = tmp_path / "stubs"
    out.mkdir()
    run(
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTO}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        *protos,
    )
    program = f"""
import os, sys
# Sluice itself, installed beside grpcio for these tests, is not there for people outside.
sys.path = [{str(out)!r}, *(entry for entry in sys.path if not os.path.exists(os.path.join(entry, "sluice")))]
import grpc
from sluice.orders.v1 import orders_pb2, orders_pb2_grpc
with grpc.insecure_channel({gateway.endpoint!r}) as channel:
    orders = orders_pb2_grpc.OrderServiceStub(channel)
    request = orders_pb2.PlaceOrderRequest(order_id={str(uuid4())!r}, customer_id="anna")
    request.lines.add(sku={name!r}, quantity=2)
    first = orders.PlaceOrder(request, timeout=10)
    again = orders.PlaceOrder(request, timeout=10)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.order == first.order == orders.GetOrder(
        orders_pb2.GetOrderRequest(order_id=request.order_id), timeout=10).order
    print(orders_pb2.OrderState.Name(first.order.state))
"""
    assert run(sys.executable, "-I", "-c", program).strip() == "ORDER_STATE_CREATED"
    assert (await stock_of(clients[0], name)).sold == 2


def test_reflection_lists_the_services_and_knows_their_files(gateway: Embedded) -> None:
    with grpc.insecure_channel(gateway.endpoint) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        questions = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="sluice.orders.v1.OrderService"),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="sluice.stock.v1.StockService"),
        ]
        listed, *files = stub.ServerReflectionInfo(iter(questions), timeout=10)
    services = {service.name for service in listed.list_services_response.service}
    assert {"sluice.orders.v1.OrderService", "sluice.stock.v1.StockService"} <= services
    assert "sluice.stock.v1.StockKeeperService" not in services
    for answer in files:
        assert answer.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize(
    "options", [(), ("-import-path", str(PROTO), "-proto", str(ORDERS_PROTO))], ids=["reflection", "file"]
)
async def test_grpcurl(gateway: Embedded, clients: list[Client], name: str, options: tuple[str, ...]) -> None:
    grpcurl = tool("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl")
    await create_skus(clients[0], [name], 5)
    data = {"order_id": str(uuid4()), "customer_id": "anna", "lines": [{"sku": name, "quantity": 1}]}
    method = "sluice.orders.v1.OrderService/PlaceOrder"
    shown = run(grpcurl, "-plaintext", *options, "-d", json.dumps(data), gateway.endpoint, method)
    assert json.loads(shown)["order"]["state"] == "ORDER_STATE_CREATED"
    assert (await stock_of(clients[0], name)).sold == 1


@pytest.mark.parametrize("options", [(), ("--proto", str(ORDERS_PROTO), "-i", str(PROTO))], ids=["reflection", "file"])
async def test_ghz(gateway: Embedded, clients: list[Client], name: str, options: tuple[str, ...]) -> None:
    ghz = tool("ghz", "github.com/bojand/ghz/cmd/ghz")
    await create_skus(clients[0], [name], 500)
    template = {"order_id": "{{newUUID}}", "customer_id": "ghz", "lines": [{"sku": name, "quantity": 1}]}
    shown = run(
        *(ghz, "--insecure", *options, "--call", "sluice.orders.v1.OrderService.PlaceOrder"),
        *("-d", json.dumps(template), "-n", "300", "-c", "20", "--format", "json", gateway.endpoint),
    )
    assert json.loads(shown)["statusCodeDistribution"] == {"OK": 300}
    assert (await stock_of(clients[0], name)).sold == 300
