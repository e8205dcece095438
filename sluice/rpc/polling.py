"""How gRPC waits for the network in our servers: in the thread that waits for its events, not in threads of its own.

gRPC has two ways. By default threads of its "event engine" read what came, and wake the thread that hands events to
the event loop; by the older way that thread reads by itself. It saves two of three changes of thread. Measured on two
cores, single calls, in turn: a server that does nothing 8,800 to 10,100 calls/s by default and 11,200 to 14,900 the
older way; an embedded gateway 5,800 to 6,800 orders/s and 7,300 to 8,400.

Later versions of gRPC have no choice; which are used here is pinned. Client programs keep the default.
"""

import importlib
import os

_NAME = "GRPC_EXPERIMENTS"

ENVIRONMENT = {_NAME: "-event_engine_client,-event_engine_listener,-event_engine_for_all_other_endpoints"}
"""For a process that is about to be started."""


def choose() -> None:
    """For this process, before anything in it loads gRPC, which reads this once. What the user has set counts instead;
    processes that are started from this one do not inherit it.
    """
    if _NAME in os.environ:
        return
    os.environ |= ENVIRONMENT
    importlib.import_module("grpc")
    del os.environ[_NAME]
