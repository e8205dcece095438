"""How many calls have reached a server and wait to be taken up.

A few calls are taken up in each turn of the event loop. All others wait inside gRPC, where a handler cannot see them: a
gateway that was offered twice what it can serve had 256 orders in hand and thousands there. gRPC's own statistics
(channelz) count calls as they arrive.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

import grpc
from grpc._cython import cygrpc  # as grpcio-channelz does

LOOK_INTERVAL_S = 0.01
"""One look costs 0.1 ms, so 1 % of a busy process, and nothing of one that has no calls."""

WINDOW_S = 0.1
"""Over which it is seen how busy the event loop is. Longer than its longest turns."""

IDLE_SHARE = 0.25
"""An event loop whose thread works less than this has nothing waiting: gRPC hands it the next call as soon as it can.
To refuse a call takes so little that whoever refuses for a queue that is not there is soon below it. Not more, because
threads of gRPC and of SQLite, and other processes, take their share while calls wait."""

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
        self._never_begun = 0
        self._looking = False
        server.add_generic_rpc_handlers((self,))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        del handler_call_details
        self._begun += 1
        if not self._looking:
            self._looking = True
            self._begin_window()
            asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self._look_around)

    def _look_around(self) -> None:
        begun = self._begun
        left = _calls_arrived(self._server_id) - begun
        passed_s = self._monotonic() - self._window_began
        if passed_s >= WINDOW_S:
            if time.thread_time() - self._worked_before < IDLE_SHARE * passed_s:
                # Nothing waits, then: what is left was given up inside gRPC, by callers who left.
                self._never_begun = left
            self._looking = begun != self._begun_before
            self._begin_window()
        if self._looking:
            asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self._look_around)
        self._look(self._monotonic(), begun, max(0, left - self._never_begun))

    def _begin_window(self) -> None:
        self._window_began = self._monotonic()
        self._worked_before = time.thread_time()
        self._begun_before = self._begun


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
