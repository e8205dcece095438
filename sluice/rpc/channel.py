"""Channels from one of our processes to another."""

from collections.abc import Sequence
from typing import Any

import grpc

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


def open_channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
