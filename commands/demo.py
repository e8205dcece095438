"""`sluice demo`: a sale in a few seconds. 1,000 orders at once on 300 units, told, counted, audited."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import grpc
import typer
from grpc_health.v1 import health_pb2
from rich.console import Console
from rich.table import Table

from audit.running import run_audit
from commands.audit import embedded_parts
from commands.burst import ACCEPTED, Burst, Clients, new_orders
from commands.stock import Policy
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.rpc.channel import open_channel

app = typer.Typer(add_completion=False)

START_LIMIT_S = 30.0
START_POLL_S = 0.05
STOP_LIMIT_S = 30.0
EXIT_WRONG = 1

OUT_OF_STOCK = "OUT_OF_STOCK"

Audit = Callable[[Burst, Sequence[str]], Awaitable[list[str]]]
"""Returns what is wrong, as sentences; nothing if all is well."""


class Sale(NamedTuple):
    """What is sold and asked for: `orders` of one unit at once, over `skus` with `units` each."""

    orders: int
    units: int
    skus: Sequence[str]
    channels: int
    policy: Policy


class DemoResult(NamedTuple):
    burst: Burst
    findings: list[str]

    def as_dict(self) -> dict[str, Any]:
        told = self.burst.told()
        orders = len(self.burst.answers)
        return {
            "orders": orders,
            "accepted": told[ACCEPTED],
            "out_of_stock": told[OUT_OF_STOCK],
            "other": orders - told[ACCEPTED] - told[OUT_OF_STOCK],
            "others": {name: count for name, count in told.items() if name not in (ACCEPTED, OUT_OF_STOCK)},
            "p50_ms": round(self.burst.percentile_ms(0.50), 2),
            "p95_ms": round(self.burst.percentile_ms(0.95), 2),
            "p99_ms": round(self.burst.percentile_ms(0.99), 2),
            "orders_per_s": round(orders / self.burst.elapsed_s),
            "audit": self.findings or "ok",
        }


@app.command()
def demo(
    orders: Annotated[int, typer.Option(min=1, help="orders sent at once")] = 1_000,
    units: Annotated[int, typer.Option(min=0, help="units of each SKU")] = 300,
    skus: Annotated[int, typer.Option(min=1, help="SKUs that the orders spread over")] = 1,
    channels: Annotated[int, typer.Option(min=1, help="client connections")] = 8,
    policy: Annotated[Policy, typer.Option(help="stock policy of the SKUs")] = Policy.ESCROW,
    endpoint: Annotated[str, typer.Option(help="a running gateway; else one is started for the demo")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Sends many orders at once at few units and shows what became of them."""
    result = asyncio.run(_run(Sale(orders, units, new_names(skus), channels, policy), endpoint))
    if as_json:
        sys.stdout.write(json.dumps(result.as_dict()) + "\n")
    else:
        show_result(result)
        show_what_next(endpoint)
    if result.findings:
        raise typer.Exit(EXIT_WRONG)


async def _run(sale: Sale, endpoint: str) -> DemoResult:
    if endpoint:
        return await run_burst([endpoint], sale, audit_by_api(endpoint))
    async with embedded_gateway() as (address, data_dir):
        return await run_burst([address], sale, audit_files(data_dir))


def new_names(skus: int) -> list[str]:
    """SKUs that no earlier demo has used."""
    run = uuid4().hex[:8]
    return [f"demo-{run}-{number}" for number in range(skus)]


async def run_burst(endpoints: Sequence[str], sale: Sale, audit: Audit) -> DemoResult:
    """Creates the SKUs, sends the orders, checks the sums and then whatever `audit` checks."""
    clients = Clients(endpoints, sale.channels)
    try:
        await clients.connect()
        await clients.create_skus(sale.skus, sale.units, sale.policy.value)
        burst = await clients.place_all(new_orders(sale.orders, sale.skus))
    finally:
        await clients.close()
    return DemoResult(burst, [*check_sums(burst, sale), *await audit(burst, sale.skus)])


def check_sums(burst: Burst, sale: Sale) -> list[str]:
    """The orders go over the SKUs in turn, one unit each."""
    count = len(sale.skus)
    per_sku = [sale.orders // count + (1 if number < sale.orders % count else 0) for number in range(count)]
    expected = sum(min(sale.units, asked) for asked in per_sku)
    accepted = burst.told()[ACCEPTED]
    return [] if accepted == expected else [f"I1: accepted {accepted} orders, but {expected} have units"]


def audit_by_api(endpoint: str) -> Audit:
    """What can be checked from outside: every accepted order stands, and the stock adds up."""

    async def audit(burst: Burst, skus: Sequence[str]) -> list[str]:
        findings = []
        async with open_channel(endpoint) as channel:
            get_order = channel.unary_unary(
                "/sluice.orders.v1.OrderService/GetOrder",
                request_serializer=orders_pb2.GetOrderRequest.SerializeToString,
                response_deserializer=orders_pb2.GetOrderResponse.FromString,
            )
            get_stock = channel.unary_unary(
                "/sluice.stock.v1.StockService/GetStock",
                request_serializer=stock_pb2.GetStockRequest.SerializeToString,
                response_deserializer=stock_pb2.GetStockResponse.FromString,
            )
            for order_id in burst.accepted_ids():
                try:
                    await get_order(orders_pb2.GetOrderRequest(order_id=order_id))
                except grpc.aio.AioRpcError as error:
                    findings.append(f"I3: order {order_id} was accepted, but GetOrder says {error.code().name}")
            sold = 0
            for sku in skus:
                stock = await get_stock(stock_pb2.GetStockRequest(sku=sku, consistency=stock_pb2.CONSISTENCY_STRONG))
                sold += stock.sold
                if stock.available + stock.escrow + stock.sold != stock.restocked:
                    findings.append(f"I2: the units of {sku} do not add up: {stock}")
            if sold != len(burst.accepted_ids()):
                findings.append(f"I1: {len(burst.accepted_ids())} orders were accepted, {sold} units are sold")
        return findings

    return audit


def audit_files(data_dir: Path) -> Audit:
    """The whole audit, on the files of an embedded gateway that is still running."""

    async def audit(burst: Burst, skus: Sequence[str]) -> list[str]:
        del burst, skus
        async with embedded_parts(data_dir) as parts:
            report = await run_audit(parts.journal, parts.store, parts.log)
        return [f"{finding.invariant}: {finding.subject}: {finding.message}" for finding in report.findings]

    return audit


@asynccontextmanager
async def embedded_gateway() -> AsyncIterator[tuple[str, Path]]:
    """`sluice serve` in a process of its own, on a free port and a data directory that goes away."""
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as folder:
        data_dir = Path(folder)
        address = f"127.0.0.1:{_free_port()}"
        log = (data_dir / "gateway.log").open("wb")
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own interpreter and module; it returns at once
            [sys.executable, "-m", "commands.main", "serve", "--listen", address, "--data-dir", str(data_dir)],
            stderr=log,
            env=os.environ | {"SLUICE_LOG_FORMAT": "json"},
        )
        try:
            await _until_serving(address, process, data_dir / "gateway.log")
            yield address, data_dir
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


async def _until_serving(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    async with open_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        deadline = asyncio.get_running_loop().time() + START_LIMIT_S
        while asyncio.get_running_loop().time() < deadline:
            if process.poll() is not None:
                break
            try:
                response = await check(health_pb2.HealthCheckRequest(), timeout=1.0)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(START_POLL_S)
                continue
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(START_POLL_S)
    raise SystemExit(f"the embedded gateway did not start:\n{log.read_text()}")  # noqa: ASYNC240 - we are leaving


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def show_result(result: DemoResult) -> None:
    fields = result.as_dict()
    table = Table("what", "figure", title="The sale")
    table.add_row("orders sent at once", f"{fields['orders']:,}")
    table.add_row("accepted", f"{fields['accepted']:,}")
    table.add_row("out of stock", f"{fields['out_of_stock']:,}")
    table.add_row("other answers", f"{fields['other']:,} {fields['others'] or ''}")
    table.add_row("p50 / p95 / p99", f"{fields['p50_ms']} / {fields['p95_ms']} / {fields['p99_ms']} ms")
    table.add_row("orders/s", f"{fields['orders_per_s']:,}")
    table.add_row("audit", "ok" if not result.findings else "\n".join(result.findings))
    Console().print(table)


def show_what_next(endpoint: str) -> None:
    address = endpoint or "127.0.0.1:50051"
    sluice = "sluice" if shutil.which("sluice") else os.path.relpath(sys.argv[0])
    start = "" if endpoint else "make serve    # the same gateway, staying up on 127.0.0.1:50051\n"
    Console().print(
        f"\nTry next:\n{start}"
        f"{sluice} stock create teapot 10 --endpoint {address}\n"
        f"{sluice} order place teapot=2 --endpoint {address}\n"
        f"{sluice} stock get teapot --endpoint {address}\n"
        f'grpcurl -plaintext -d \'{{"sku": "teapot"}}\' {address} sluice.stock.v1.StockService/GetStock\n'
        f"ghz --insecure --proto proto/sluice/orders/v1/orders.proto -i proto "
        f"--call sluice.orders.v1.OrderService.PlaceOrder \\\n"
        f'    -d \'{{"order_id": "{{{{newUUID}}}}", "customer_id": "ghz", '
        f'"lines": [{{"sku": "teapot", "quantity": 1}}]}}\' -n 1000 {address}',
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
