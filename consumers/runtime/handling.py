"""What the author of a consumer writes: one async function over a batch of events, and what it may raise."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from sluice.errors import Unreachable
from sluice.seams.event_log import LoggedEvent

Handler = Callable[[Sequence[LoggedEvent]], Awaitable[None]]
"""Handles a batch. Returning says that all of it is done and may be forgotten.

The events of a key come in the order of the log, in one call or in calls that follow each other; calls for other keys
run beside it. An event may come again after a crash or when a partition changes hands, so the effect of handling one
twice must be that of handling it once: `event_id` names it, `position` rises per key.

What it raises decides what happens. AWAY: nothing is wrong with the events; all calls pause until one gets through.
Poison: the event can never be handled; it goes to the dead-letter topic. Anything else: the batch is divided until the
event is found that fails alone; that one is tried again, and goes to the dead-letter topic once others have succeeded
between its attempts often enough.
"""

EVENTS_PER_CALL = 1_000
"""Measured with a 2 ms sink: batches of 50 are 40 times faster than single events; beyond 1,000 nothing is gained, and
one call would hold up its lane for longer than a partition may take to change hands."""

EVENTS_IN_FLIGHT = 20_000
"""Received and not finished: at about 2 KB each 40 MB, and some hundred calls of the handler's batches."""

AWAY = (Unreachable, ConnectionError)
"""What says that something the handler needs does not answer."""


class Poison(Exception):
    """This event can never be handled, however often it is tried; the text says why."""


class Consumer(NamedTuple):
    """What runs: `name` is its consumer group, and names its dead letters. `events_per_call` and `events_in_flight` are
    the most of it: who has small events, and pays for a call rather than for an event, takes more.
    """

    name: str
    topics: Sequence[str]
    handle: Handler
    events_per_call: int = EVENTS_PER_CALL
    events_in_flight: int = EVENTS_IN_FLIGHT


def now_ms() -> int:
    return time.time_ns() // 1_000_000
