"""W3C trace context: the trace of the caller's that an order belongs to. Taken as it came and passed on with the events
of the order; Sluice makes no spans of its own.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
"""Names of call metadata and of Kafka headers alike."""

MAX_TRACESTATE_CHARS = 512
"""What the specification asks everybody to pass on. A longer one is left out whole: half a list says something else."""

_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})"
    r"(?P<fields>-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"
    r"(?P<later>-.*)?"
)
_TRACESTATE = re.compile(rf"[\x20-\x7e]{{1,{MAX_TRACESTATE_CHARS}}}")


class TraceContext(NamedTuple):
    """`traceparent` is valid, of version 00. `tracestate` is empty if there is none."""

    traceparent: str
    tracestate: str = ""


def trace_context(metadata: Iterable[tuple[str, str | bytes]]) -> TraceContext | None:
    """What call metadata says. None if it has no `traceparent`, or one that is invalid, or several: that is no fault of
    the order.
    """
    parents = [value for key, value in metadata if key == TRACEPARENT]
    if len(parents) != 1:
        return None
    states = [value for key, value in metadata if key == TRACESTATE]
    return read_trace_context(parents[0], ",".join(state for state in states if isinstance(state, str)))


def read_trace_context(traceparent: str | bytes, tracestate: str) -> TraceContext | None:
    """None if `traceparent` is invalid. Of a later version the fields of today are read, as the specification says."""
    if not isinstance(traceparent, str):
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found["later"] is not None and found["version"] == "00"):
        return None
    return TraceContext(f"00{found['fields']}", tracestate if _TRACESTATE.fullmatch(tracestate) else "")
