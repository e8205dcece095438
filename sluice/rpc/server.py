"""gRPC servers: options with their reasons, and handlers that never leak an exception's text to a client."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from operator import methodcaller
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import Message

from sluice.errors import CannotListen
from sluice.rpc.failure import RpcFailure
from sluice.rpc.server_tls import server_credentials
from sluice.rpc.taking_calls import Server
from sluice.tls_files import TlsFiles

MAX_RECEIVE_BYTES = 4 * 1024 * 1024
"""gRPC's default, said aloud: it bounds what one message can make us allocate."""

MAX_CALLS_BEHIND = 5_000
"""Calls that wait inside gRPC, behind the ASKED_FOR that were handed over: of more, more and more are CANCELLED without
being read, and of twice as many all. Admission is ours to do, with an answer that says when to come back; this is for a
flood that comes faster than anything can be answered. Each that waits is 14 KB: without a bound 530 MB after seven
seconds at four times the peak, and no end (measured). While the event loop stands still 6,000 calls lose nothing.
"""

SERVER_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.server.max_pending_requests", MAX_CALLS_BEHIND),
    ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_CALLS_BEHIND),
    # On by default, and then a second server on the same port binds without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 4_096),
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    # Clients may ping once in 30 s; the default of 5 min answers honest keep-alives with GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
UnaryHandler = Callable[[Any, Any], Awaitable[Message]]
StreamHandler = Callable[[AsyncIterator[Any], Any], AsyncIterator[Message]]
ServerStreamHandler = Callable[[Any, Any], AsyncGenerator[Any, None]]

SERIALIZE = methodcaller("SerializeToString")
"""Of whatever message it is given: `Message.SerializeToString` itself is abstract."""

_log = structlog.get_logger(__name__)


def unary(handler: UnaryHandler, request_type: type[Message]) -> Handler:
    """`handler(request, context)` returns the response or raises RpcFailure."""

    async def answer(request: Message, context: Any) -> Message | None:
        try:
            return await handler(request, context)
        except RpcFailure as failure:
            _fail(context, failure.code, failure.message, failure.trailing_metadata())
        except Exception:  # noqa: BLE001 - logged; the text of an exception is not for clients
            _log.exception("a handler failed", method=handler.__qualname__)
            _fail(context, grpc.StatusCode.INTERNAL, "internal error")
        return None  # gRPC sends no message beside a status that is not OK

    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request_type.FromString,
        response_serializer=SERIALIZE,
    )


def stream(handler: StreamHandler, read: Callable[[bytes], Any]) -> Handler:
    """`handler(requests, context)` yields responses or raises RpcFailure. `read` makes a request of its bytes."""

    async def answer(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Message]:
        async with _ending_as_told(context, handler.__qualname__):
            async for response in handler(requests, context):
                yield response

    return grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=read,
        response_serializer=SERIALIZE,
    )


def server_stream(handler: ServerStreamHandler, request_type: type[Message]) -> Handler:
    """`handler(request, context)` yields responses or raises RpcFailure; it is closed as soon as its caller is gone.

    The next response is asked for when the transport has taken the one before: a caller who reads slowly holds back
    the handler, and nothing is queued for it.
    """

    async def answer(request: Message, context: Any) -> None:
        async with (
            _ending_as_told(context, handler.__qualname__),
            contextlib.aclosing(handler(request, context)) as responses,
        ):
            async for response in responses:
                await context.write(response)

    return grpc.unary_stream_rpc_method_handler(
        answer,
        request_deserializer=request_type.FromString,
        response_serializer=SERIALIZE,
    )


@contextlib.asynccontextmanager
async def _ending_as_told(context: Any, method: str) -> AsyncIterator[None]:
    """Ends a stream whose handler fails with what its failure says."""
    try:
        yield
    except RpcFailure as failure:
        _fail(context, failure.code, failure.message, failure.trailing_metadata())
    except Exception:  # noqa: BLE001 - logged; the text of an exception is not for clients
        _log.exception("a stream handler failed", method=method)
        _fail(context, grpc.StatusCode.INTERNAL, "internal error")


def _fail(context: Any, code: grpc.StatusCode, message: str, trailers: Sequence[tuple[str, str | bytes]] = ()) -> None:
    """How the call ends when its handler returns. `context.abort` raises, and the call keeps what it raised, with the
    frames that it went through and so itself: 36 objects, 3 KB, that only a full garbage collection finds.
    """
    context.set_trailing_metadata(trailers)
    context.set_details(message)
    context.set_code(code)


def time_left_s(context: Any, *, without_deadline_s: float) -> float:
    """Until the caller's deadline; nothing, if it has passed: nobody will hear the answer."""
    left: float | None = context.time_remaining()
    return without_deadline_s if left is None else left


def service(name: str, methods: dict[str, Handler]) -> grpc.GenericRpcHandler:
    """All methods of one service. Methods that are not here answer UNIMPLEMENTED by themselves."""
    return grpc.method_handlers_generic_handler(name, methods)


def new_server() -> Server:
    return Server(SERVER_OPTIONS)


async def start(server: grpc.aio.Server, listen: str, tls: TlsFiles | None = None) -> int:
    """Binds and starts; returns the port. Without `tls` nothing is encrypted. Raises CannotListen; and ValueError,
    which names the file of TLS that cannot be used.
    """
    try:
        if tls is None:
            port = server.add_insecure_port(listen)
        else:
            port = server.add_secure_port(listen, server_credentials(tls))
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {listen}: {error}") from error
    await server.start()
    return port
