"""How many calls have reached a server and wait to be taken up.

The asyncio server of gRPC takes up one call in each turn of the event loop. All others wait inside gRPC, where a
handler cannot see them: a gateway that was offered twice what it can serve had 256 orders in hand and thousands there.
gRPC's own statistics (channelz) count calls as they arrive.
"""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # as grpcio-channelz does

LOOK_INTERVAL_S = 0.01
"""One look costs 0.1 ms, so 1 % of a busy process, and nothing of one that has no calls."""

IDLE_LOOKS = 50
"""In a row without a call taken up. A single one says nothing: a turn of the event loop that decides hundreds of orders
is longer than the interval, while thousands wait."""

_STARTED = re.compile(rb'"callsStarted":"(\d+)"')

Look = Callable[[float, int, int], None]
"""Given the time, the number of calls taken up so far, and the number of those that wait."""


class Arrivals(grpc.GenericRpcHandler):
    """Handles no call, but sees each one that is taken up: it must be the first handler of its server."""

    def __init__(self, server: grpc.aio.Server, monotonic: Callable[[], float], look: Look) -> None:
        """Right after `server` was made: the newest one of this process is taken for it."""
        self._server_id = _newest_server()
        self._monotonic = monotonic
        self._look = look
        self._begun = 0
        self._begun_before = 0
        self._never_begun = 0
        self._idle_looks = 0
        self._looking = False
        server.add_generic_rpc_handlers((self,))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        del handler_call_details
        self._begun += 1
        if not self._looking:
            self._looking = True
            self._idle_looks = 0
            asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self._look_around)

    def _look_around(self) -> None:
        begun = self._begun
        left = _calls_arrived(self._server_id) - begun
        self._idle_looks = self._idle_looks + 1 if begun == self._begun_before else 0
        self._begun_before = begun
        if self._idle_looks >= IDLE_LOOKS:
            # Nothing waits, then: what is left was given up inside gRPC.
            self._never_begun = left
            self._looking = False
        else:
            asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self._look_around)
        self._look(self._monotonic(), begun, max(0, left - self._never_begun))


def _newest_server() -> int:
    servers: list[dict[str, Any]] = []
    while True:
        after = int(servers[-1]["ref"]["serverId"]) + 1 if servers else 0
        page = json.loads(cygrpc.channelz_get_servers(after))
        servers += page.get("server", [])
        if page.get("end"):
            return int(servers[-1]["ref"]["serverId"])


def _calls_arrived(server_id: int) -> int:
    found = _STARTED.search(cygrpc.channelz_get_server(server_id))
    return int(found[1]) if found else 0
