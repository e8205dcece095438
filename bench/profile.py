"""Where a process spends its time, from outside: py-spy's samples of its stacks, sorted into the parts of the design.

Native frames are included, because most of the time is spent in C: gRPC's core, protobuf, asyncpg's codecs.
"""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

SAMPLES_PER_S = 100
"""More only stops the process more often; a run of ten seconds has a thousand samples."""

LONGEST_S = 600
WRITE_LIMIT_S = 30.0

OTHER = "other"

# A thread that waits is no work, and py-spy's own test for it does not hold while native frames are read. The last
# entry is how a thread waits for the interpreter lock.
WAITS = frozenset(
    {
        *("epoll_wait", "epoll_pwait", "poll", "ppoll", "select", "nanosleep", "clock_nanosleep"),
        *("fdatasync", "fsync", "PyThread_acquire_lock_timed"),
        *("pthread_cond_wait", "pthread_cond_clockwait", "pthread_cond_timedwait"),
    }
)
INNERMOST = 3
"""Frames in which a wait shows: the C library's own frames below it have no names."""

# The first frame from the inside out that is named here says which part the sample belongs to; frames in between
# (libc, the interpreter, the standard library) do the work of whoever called them. Order matters: first match wins.
PARTS: tuple[tuple[str, str], ...] = (
    ("gateway/validation.py", "validation"),
    ("gateway/batch_reading.py", "validation"),
    ("gateway/keeper_rpc.py", "keeper rpc"),
    ("gateway/keepers.py", "keeper rpc"),
    ("gateway/placing.py", "placing and coalescing"),
    ("gateway/committing.py", "placing and coalescing"),
    ("gateway/outcomes.py", "placing and coalescing"),
    ("sluice/coalescer.py", "placing and coalescing"),
    ("sluice/model.py", "placing and coalescing"),
    ("gateway/messages.py", "order service, answers"),
    ("gateway/order_service.py", "order service, answers"),
    ("journal/events.py", "events encoding"),
    ("journal/", "journal"),
    ("sluice/sqlite_file.py", "journal"),
    ("sqlite3", "journal"),
    ("asyncpg", "journal"),
    ("stockd/engine.py", "stock engine"),
    ("stockd/escrow.py", "stock engine"),
    ("stockd/reclaim.py", "stock engine"),
    ("stockd/service.py", "stock service"),
    ("stockd/stores/", "ledger"),
    ("/cassandra/", "ledger"),
    ("confluent_kafka", "Kafka client"),
    ("relay/", "relay"),
    ("prometheus_client/", "metrics"),
    ("/metrics.py", "metrics"),
    ("_upb", "protobuf"),
    ("google/protobuf", "protobuf"),
    ("cygrpc", "gRPC"),
    ("/grpc/", "gRPC"),
    ("sluice/rpc/", "gRPC"),
)

# Under everything on the main thread, so it counts only where nothing above it is named.
LOOP_FRAGMENTS = ("uvloop", "asyncio")
LOOP = "event loop"

_ROOT = f"{Path(__file__).parent.parent}/"


class CannotProfile(Exception):
    """py-spy is not there, or the system does not let it look; the text says which."""


def part_of(stack: str) -> str | None:
    """The part of one stack, outermost frame first, frames separated by semicolons; None if it waits."""
    # Where the repository lies must not name a part.
    frames = stack.replace(_ROOT, "").split(";")
    if any(frame.partition(" ")[0] in WAITS for frame in frames[-INNERMOST:]):
        return None
    for frame in reversed(frames):
        for fragment, part in PARTS:
            if fragment in frame:
                return part
    return LOOP if any(fragment in stack for fragment in LOOP_FRAGMENTS) else OTHER


def parts_of(lines: Iterable[str]) -> dict[str, int]:
    """Samples by part, from py-spy's `raw` format: a stack, a space and a count on each line."""
    parts: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        part = part_of(stack) if stack else None
        if part is not None:
            parts[part] += int(count)
    return dict(parts)


@contextmanager
def profiling(pids: Mapping[str, int], directory: Path) -> Iterator[dict[str, dict[str, int]]]:
    """Samples the processes while the block runs; afterwards what was yielded holds samples by process and part.

    Raises CannotProfile at the end of the block.
    """
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        raise CannotProfile(f"{program} is not there")
    found: dict[str, dict[str, int]] = {}
    with ExitStack() as running:
        spies = {name: running.enter_context(_spy(program, name, pid, directory)) for name, pid in pids.items()}
        yield found
        for spy in spies.values():
            spy.send_signal(signal.SIGINT)
        for name, spy in spies.items():
            _, said = spy.communicate(timeout=WRITE_LIMIT_S)
            file = directory / f"{name}.stacks"
            if not file.exists():
                raise CannotProfile(f"py-spy on {name}: {said.decode(errors='replace').strip()}")
            found[name] = parts_of(file.read_text().splitlines())


@contextmanager
def _spy(program: Path, name: str, pid: int, directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    file = directory / f"{name}.stacks"
    file.unlink(missing_ok=True)
    spy = subprocess.Popen(
        [
            *(program, "record", "--native", "--full-filenames", "--format", "raw", "--output", file),
            *("--rate", str(SAMPLES_PER_S), "--duration", str(LONGEST_S), "--pid", str(pid)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield spy
    finally:
        spy.kill()
        spy.wait()
