"""`sluice health`: whether a process says that it is serving. For container health checks."""

import asyncio
import sys
import urllib.error
import urllib.request
from typing import Annotated

import grpc
import typer
from grpc_health.v1 import health_pb2

from commands.calling import DEFAULT_ENDPOINT, Endpoint, open_endpoint

app = typer.Typer(add_completion=False)

TIMEOUT_S = 2.0
EXIT_NOT_SERVING = 1


@app.command()
def health(
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    service: Annotated[str, typer.Option(help="one service; empty: the whole process")] = "",
    metrics: Annotated[str, typer.Option(help="host:port of /metrics: asks for /readyz there instead")] = "",
) -> None:
    """Says SERVING and exits with 0, or says what else and exits with 1."""
    answer = _ready(metrics) if metrics else asyncio.run(_check(endpoint, service))
    sys.stdout.write(answer + "\n")
    if answer != "SERVING":
        raise typer.Exit(EXIT_NOT_SERVING)


async def _check(endpoint: str, service: str) -> str:
    async with open_endpoint(endpoint) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            response = await check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def _ready(address: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=TIMEOUT_S):
            return "SERVING"
    except urllib.error.HTTPError as error:
        return f"NOT_SERVING: {error.read().decode().strip()}"
    except OSError as error:
        return f"UNAVAILABLE: {error}"
