"""Channels from one of our processes to another."""

from collections.abc import Sequence
from typing import Any

import grpc
from grpc.aio import _channel  # `grpc.aio.insecure_channel` gives no other way in

from sluice.rpc.caller_tls import channel_credentials, channel_options
from sluice.tls_files import Tls

CHANNEL_OPTIONS: Sequence[tuple[str, Any]] = (
    # Its own connection, not one shared with whatever else this process talks to.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # The defaults wait 1 s, then up to 120 s: a restarted server would be missed for minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


class Channel(_channel.Channel, grpc.aio.Channel):  # type: ignore[misc]  # the first is the second, with other types
    """As `grpc.aio.insecure_channel` and `secure_channel` make it, but a call that has ended is freed as soon as nobody
    has it any more.

    gRPC's own gives each call a callback that takes it off the list of those that go on. The call keeps the callback,
    and the callback the call: 16 objects, 16 KB with what gRPC's core keeps of it, until a garbage collection finds
    them. The list is of weak references, so that nothing needs to be taken off it.
    """

    def __init__(self, address: str, options: Sequence[tuple[str, Any]], tls: Tls | None = None) -> None:
        """Without `tls` nothing is encrypted. Raises ValueError, which names the file of TLS that cannot be used."""
        no_compression = no_interceptors = None
        credentials: Any = None
        if tls is not None:
            given: Any = channel_credentials(tls)
            credentials = given._credentials  # noqa: SLF001 - as grpc.aio does
            options = (*options, *channel_options(tls))
        super().__init__(address, options, credentials, no_compression, no_interceptors)

    def _register_call(self, call: Any) -> None:
        self._active_calls.add(call)


def open_channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """Without `tls` nothing is encrypted. Raises ValueError, which names the file of TLS that cannot be used."""
    return Channel(address, CHANNEL_OPTIONS, tls)
