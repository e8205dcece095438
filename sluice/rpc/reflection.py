"""Server reflection that finds methods too.

ghz asks for the file of `package.Service.Method`, and grpcio-reflection answers NOT_FOUND: protobuf's pool looks
symbols up by their full name, and methods are not in that table.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection

SERVICE_NAME: str = reflection.SERVICE_NAME


class _Pool:
    """What the reflection service calls, on the pool of all imported messages."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        """Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindMethodByName(symbol).containing_service.file


def enable(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """`services`: full names, as shown to whoever asks for a list; their generated modules must be imported."""
    reflection.enable_server_reflection([*services, SERVICE_NAME], server, pool=_Pool())
