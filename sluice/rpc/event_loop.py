"""An event loop that turns once for all events of gRPC that have come, not once for each.

A thread of gRPC puts each event into a queue and writes a byte to a socket for it; the event loop reads one byte, and
handles all that is in the queue. The other bytes make it turn again, once for each, for nothing: a single call
has four events. Here the bytes that came together are read together. Measured on a server that does nothing else
(h2load beside it, two cores): 22,000 to 23,600 calls/s instead of 18,700 to 23,500, and of calls that are refused
29,000 to 32,000 instead of 18,000 to 21,500.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvloop

BYTES_AT_ONCE = 4_096
"""More events than ever wait; what is left over is read in the next turn."""


class EventLoop(uvloop.Loop):
    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]  # looser
        if _hears_grpc(callback) and isinstance(fd, socket.socket):
            callback = partial(_read_together, fd, callback)
        super().add_reader(fd, callback, *args)


def _hears_grpc(callback: Callable[..., Any]) -> bool:
    """GRPC gives its queue's method, with the event loop bound to it."""
    method = callback.func if isinstance(callback, partial) else callback
    return type(getattr(method, "__self__", None)).__name__ == "PollerCompletionQueue"


def _read_together(from_grpc: socket.socket, handle_events: Callable[..., Any], *args: Any) -> None:
    waiting = len(from_grpc.recv(BYTES_AT_ONCE, socket.MSG_PEEK))
    if waiting > 1:
        from_grpc.recv(waiting - 1)  # the last one is read by gRPC itself
    handle_events(*args)
