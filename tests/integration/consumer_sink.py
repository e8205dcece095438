"""A handler as a user would write it, for tests that start and kill its process: a line per event in a file."""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from consumers.runtime.handling import Poison
from sluice.errors import Unreachable
from sluice.seams.event_log import LoggedEvent

FILE = Path(os.environ["SINK_FILE"])
"""`key number place` per line, in the order of handling, of all processes together."""

AWAY = FILE.with_suffix(".away")
"""While it exists the sink does not answer."""

POISON = FILE.with_suffix(".poison")
"""Keys that cannot be handled, a line each."""

SLOW = FILE.with_suffix(".slow")
"""A key whose events take long: `key seconds`."""


async def handle(events: Sequence[LoggedEvent]) -> None:
    if AWAY.exists():
        raise Unreachable("told to be away")
    await asyncio.sleep(0.002)
    poison = set(POISON.read_text().split()) if POISON.exists() else set()
    slow = SLOW.read_text().split() if SLOW.exists() else []
    for each in events:
        if each.event.key in poison:
            raise Poison(f"{each.event.key} is told to be poison")
        if slow and each.event.key == slow[0]:
            await asyncio.sleep(float(slow[1]))
    _write("".join(f"{e.event.key} {e.event.position.number} {e.event.position.place}\n" for e in events))


def _write(lines: str) -> None:
    """At once, and one writer at a time, so that lines of processes do not mix."""
    with FILE.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(lines)
