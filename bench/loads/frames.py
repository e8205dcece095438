"""`PlaceOrder` in HTTP/2 frames put together beforehand: a caller that costs a quarter of what a stub costs.

Offered twice what a server can take, a stub user in Python is the slower of the two: what it then measures is itself.
Frames are RFC 9113, header blocks RFC 7541 without a dynamic table (our settings forbid the server one), so the same
answer is the same bytes, and what one means is worked out once.
"""

import asyncio
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from bench.loads.tally import ACCEPTED
from sluice.host_port import split_host_port

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE, _TRUE_BINARY_METADATA = 1, 4, 0xFE03
_HEAD_BYTES = 9
_WINDOW = 1 << 30
_POST, _SCHEME_HTTP = b"\x83", b"\x86"
_PATH = "/sluice.orders.v1.OrderService/PlaceOrder"

CUT_OFF = "CUT_OFF"
"""Nothing was heard: the stream or the connection ended without a status, or the load was over."""

CANCELLED = f"STATUS_{grpc.StatusCode.CANCELLED.value[0]}"
"""What gRPC itself answers when more calls wait in it than it is told to keep."""

Heard = Callable[[float, str], None]
"""Given what was given to `send`, and ACCEPTED, or the reason of a refusal."""


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[float, Heard]] = {}
        self._next_stream = 1
        self._left = b""
        self._headers = b"".join(
            [
                _POST,
                _SCHEME_HTTP,
                *(_literal(":path", _PATH), _literal(":authority", "sluice"), _literal("te", "trailers")),
                _literal("content-type", "application/grpc"),
            ]
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = ((_HEADER_TABLE_SIZE, 0), (_INITIAL_WINDOW_SIZE, _WINDOW), (_TRUE_BINARY_METADATA, 1))
        self._transport.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in settings))
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.give_up()

    def give_up(self) -> None:
        """Whoever still waits is told that nothing was heard."""
        waiting, self._waiting = self._waiting, {}
        for due, heard in waiting.values():
            heard(due, CUT_OFF)

    def send(self, orders: list[tuple[float, bytes]], heard: Heard) -> None:
        """Orders in one write. With each goes the moment that it was due."""
        frames = []
        for due, request in orders:
            stream = self._next_stream
            self._next_stream += 2
            self._waiting[stream] = (due, heard)
            frames.append(_frame(_HEADERS, _END_HEADERS, stream, self._headers))
            frames.append(_frame(_DATA, _END_STREAM, stream, struct.pack(">BI", 0, len(request)) + request))
        self._transport.write(b"".join(frames))

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._left + data
        at, end = 0, len(received)
        while end - at >= _HEAD_BYTES:
            after = at + _HEAD_BYTES + int.from_bytes(received[at : at + 3])
            if after > end:
                break
            kind, flags = received[at + 3], received[at + 4]
            if kind == _HEADERS and flags & _END_STREAM:
                self._answered(received[at + 5 : at + 9], _told(received[at + _HEAD_BYTES : after]))
            elif kind == _RST_STREAM:
                self._answered(received[at + 5 : at + 9], CUT_OFF)
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                echo = received[at + _HEAD_BYTES : after] if kind == _PING else b""
                self._transport.write(_frame(kind, _ACK, 0, echo))
            elif kind == _GOAWAY:
                self._transport.close()
            at = after
        self._left = received[at:]

    def _answered(self, stream: bytes, told: str) -> None:
        waited = self._waiting.pop(int.from_bytes(stream), None)
        if waited is not None:
            due, heard = waited
            heard(due, told)


async def connect(endpoint: str, connections: int) -> list[Caller]:
    loop = asyncio.get_running_loop()
    host, port = split_host_port(endpoint)
    return [(await loop.create_connection(Caller, host, port))[1] for _ in range(connections)]


@lru_cache(maxsize=1_024)
def _told(block: bytes) -> str:
    """ACCEPTED, the reason of a refusal, or the status of an answer without one; `block` ends the answer."""
    status = _value_of("grpc-status", block)
    if status == b"0":
        return ACCEPTED
    details = status_pb2.Status()
    details.ParseFromString(_value_of("grpc-status-details-bin", block).removeprefix(b"\0"))
    for detail in details.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return f"STATUS_{status.decode(errors='replace') or 'UNKNOWN'}"


def _value_of(name: str, block: bytes) -> bytes:
    """Of a header whose name stands in the block as it is, which gRPC's own headers do; empty if it is not there."""
    named = bytes([len(name)]) + name.encode()
    at = block.find(named)
    if at < 0:
        return b""
    at += len(named)
    length = block[at] & 0x7F
    at += 1
    if length == 0x7F:  # a prefix that is full goes on in groups of seven bits
        shift = 0
        while True:
            length += (block[at] & 0x7F) << shift
            shift += 7
            at += 1
            if block[at - 1] < 0x80:
                break
    return block[at : at + length]


def _literal(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
