"""Calls from the command line: one channel, clear words when something goes wrong, JSON on request."""

import asyncio
import json
import math
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from sluice.rpc.channel import open_channel
from sluice.rpc.failure import reason_of
from sluice.rpc.server import SERIALIZE
from sluice.tls_files import Tls

DEFAULT_ENDPOINT = "127.0.0.1:50051"
CALL_TIMEOUT_S = 10.0
EXIT_REFUSED = 1

RECONNECT_PAUSE_S = 0.5
RECONNECT_LIMIT_S = 60.0
"""A stream that breaks is begun again for so long: a restarted gateway, or a failed-over database, is back by then."""

TLS_SCHEME = "tls://"
EXIT_BAD_FILE = 2

Endpoint = Annotated[
    str,
    typer.Option(
        envvar="SLUICE_ENDPOINT",
        help="host:port of a gateway; tls://host:port with TLS, where the PEM file SLUICE_CA has the authorities that "
        "are trusted (else gRPC's own), and SLUICE_CERTIFICATE and SLUICE_KEY are what is shown to it",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object instead of text")]


def open_endpoint(endpoint: str) -> grpc.aio.Channel:
    """Exits with 2 and says why if a file of TLS cannot be used."""
    address = endpoint.removeprefix(TLS_SCHEME)
    if address == endpoint:
        return open_channel(endpoint)
    ca, certificate, key = map(_file_of, ("SLUICE_CA", "SLUICE_CERTIFICATE", "SLUICE_KEY"))
    try:
        return open_channel(address, Tls(ca, certificate, key))
    except ValueError as error:
        sys.stderr.write(f"TLS: {error}\n")
        raise typer.Exit(EXIT_BAD_FILE) from None


def _file_of(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named) if named else None


def call(endpoint: str, method: str, request: Message, response_type: type[Message]) -> Any:
    """One unary call; on failure says code, reason and message on standard error and exits with 1."""

    async def work() -> Any:
        async with open_endpoint(endpoint) as channel:
            send: Callable[..., Any] = channel.unary_unary(
                method, request_serializer=SERIALIZE, response_deserializer=response_type.FromString
            )
            return await send(request, timeout=CALL_TIMEOUT_S)

    return run_calls(work())


def follow(
    endpoint: str,
    method: str,
    next_request: Callable[[], Message],
    response_type: type[Message],
    show_one: Callable[[Any], None],
) -> None:
    """One server stream to its end. When it breaks after it has begun it is begun again with `next_request()`, which
    says from where. On failure as `call`.
    """

    async def work() -> None:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time()
        async with open_endpoint(endpoint) as channel:
            begin: Callable[..., Any] = channel.unary_stream(
                method, request_serializer=SERIALIZE, response_deserializer=response_type.FromString
            )
            while True:
                try:
                    async for response in begin(next_request()):
                        show_one(response)
                        give_up_at = math.inf
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE or loop.time() >= give_up_at:
                        raise
                    give_up_at = min(give_up_at, loop.time() + RECONNECT_LIMIT_S)
                    await asyncio.sleep(RECONNECT_PAUSE_S)
                else:
                    return

    run_calls(work())


def run_calls(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except grpc.aio.AioRpcError as error:
        reason = reason_of(error)
        sys.stderr.write(f"{error.code().name}{f' / {reason}' if reason else ''}: {error.details()}\n")
        raise typer.Exit(EXIT_REFUSED) from None


def show(message: Message, *, as_json: bool) -> None:
    """Prints a message: as JSON with every field, or as a table of its top-level fields."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if as_json:
        sys.stdout.write(json.dumps(fields) + "\n")
        return
    table = Table(show_header=False)
    for name, value in fields.items():
        table.add_row(name, json.dumps(value) if isinstance(value, dict | list) else str(value))
    Console().print(table)


def show_rows(messages: list[Any], *, as_json: bool) -> None:
    rows = [
        MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        for message in messages
    ]
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    if not rows:
        Console().print("none")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(json.dumps(value) if isinstance(value, dict | list) else str(value) for value in row.values()))
    Console().print(table)
