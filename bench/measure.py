"""CPU time and resident memory of processes, from /proc."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.local.processes import family, identify

RSS_INTERVAL_S = 0.5

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024


class Clock(NamedTuple):
    """CPU seconds used so far: by each named process, its children included, and by the whole machine."""

    processes: Mapping[str, float]
    machine_s: float
    wall_s: float


def read_clock(pids: Mapping[str, int]) -> Clock:
    return Clock({name: _cpu_s(pid) for name, pid in pids.items()}, _machine_busy_s(), time.monotonic())


def used_between(before: Clock, after: Clock) -> dict[str, float]:
    """CPU seconds by process, and under `others` what the rest of the machine used meanwhile, kernel included."""
    used = {name: max(0.0, after.processes[name] - start) for name, start in before.processes.items()}
    used["others"] = max(0.0, after.machine_s - before.machine_s - sum(used.values()))
    return used


def cpu_by_thread(pid: int) -> dict[str, float]:
    """CPU seconds so far by thread name; threads of one name are summed. `loop` is the one that runs Python's loop."""
    used: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (task / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = "loop" if int(task.name) == pid else text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()
        used[name] = used.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return used


def rss_mib(pid: int) -> float:
    """0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / _MIB
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


class Memory:
    """Resident memory of processes over time, as (seconds, MiB)."""

    def __init__(self, names: Mapping[str, int]) -> None:
        self.series: dict[str, list[tuple[float, float]]] = {name: [] for name in names}

    def highest_mib(self) -> dict[str, float]:
        return {name: max(mib for _, mib in series) for name, series in self.series.items() if series}


@contextmanager
def watch_memory(pids: Mapping[str, int], interval_s: float = RSS_INTERVAL_S) -> Iterator[Memory]:
    """Reads it every `interval_s` from a thread until the block ends."""
    memory = Memory(pids)
    ended = threading.Event()
    started = time.monotonic()

    def watch() -> None:
        while True:
            for name, pid in pids.items():
                memory.series[name].append((round(time.monotonic() - started, 2), round(rss_mib(pid), 2)))
            if ended.wait(interval_s):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def _cpu_s(pid: int) -> float:
    """User and system time of the process and its descendants, those that have ended included."""
    root = identify(pid)
    if root is None:
        return 0.0
    ticks = 0
    for member in family(root):
        try:
            text = Path(f"/proc/{member.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = text[text.rindex(")") + 2 :].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS_PER_S


def _machine_busy_s() -> float:
    first_line = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (int(field) for field in first_line.split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS_PER_S
