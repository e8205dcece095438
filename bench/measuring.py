"""One run of a load with everything it cost."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bench.measure import cpu_by_thread, read_clock, used_between, watch_memory
from bench.settling import conditional_writes
from bench.systems import System
from bench.workers import Worker


def measured(
    loads: Sequence[Worker], system: System, standing_still: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What each worker reports, and what all of them cost together: CPU by process until all events are published,
    memory at most, and conditional writes to the ledger.

    It begins when nothing of the warm-up is left to be published. Processes of `standing_still` are stopped meanwhile.
    """
    pids, python, drain = system.pids, system.python, system.drain
    for load in loads:
        load.wait_until_warm()
    drain()
    writes_before = conditional_writes(system.metrics)
    clients = {"client" if not number else f"client-{number}": load.pid for number, load in enumerate(loads)}
    clocked = dict(pids) | clients
    threads_before = {name: cpu_by_thread(pids[name]) for name in python}
    with watch_memory({name: pids[name] for name in python} | clients) as memory:
        before = read_clock(clocked)
        with stopped([pids[name] for name in standing_still]):
            for load in loads:
                load.begin()
            results: list[dict[str, Any]] = [load.result() for load in loads]
        answered = read_clock(clocked)
        drain()
        drained = read_clock(clocked)
    return results, {
        "cpu_s": used_between(before, drained),
        "cpu_until_answered_s": used_between(before, answered),
        "threads_s": {name: _less(cpu_by_thread(pids[name]), threads_before[name]) for name in python},
        "conditional_writes": conditional_writes(system.metrics) - writes_before,
        "drain_s": drained.wall_s - answered.wall_s,
        "highest_rss_mib": memory.highest_mib(),
    }


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _less(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
