"""Work in processes of its own that must start at a moment that the measurement chooses.

A worker reads its settings, one line of JSON on its standard input, prints one line when it is warm, waits for another
line, works, and prints its result.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_GO = b"go\n"
_READY = b"ready\n"
_END_LIMIT_S = 10.0


class WorkerFailed(Exception):
    """The worker ended without a result; it has said why on standard error."""


class Worker:
    """The measuring side."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin
        assert process.stdout
        self._process = process
        self._input = process.stdin
        self._output = process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_warm(self) -> None:
        """Raises WorkerFailed."""
        if self._output.readline() != _READY:
            raise WorkerFailed(f"{self._process.args!r} ended before it was warm")

    def begin(self) -> None:
        self._input.write(_GO)
        self._input.flush()

    def result(self) -> Any:
        """Waits for the work's end. Raises WorkerFailed."""
        line = self._output.readline()
        if not line:
            raise WorkerFailed(f"{self._process.args!r} ended without a result")
        return json.loads(line)


@contextmanager
def worker(module: str, settings: dict[str, Any]) -> Iterator[Worker]:
    """`python -m module`; whatever is left of it at the end is killed."""
    process = subprocess.Popen([sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        yield Worker(process)
        process.stdin.close()
        process.wait(_END_LIMIT_S)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def read_settings() -> dict[str, Any]:
    """The working side."""
    settings: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    return settings


def say_ready() -> None:
    """The working side: returns when the measurement wants the work to begin."""
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    if sys.stdin.buffer.readline() != _GO:
        raise SystemExit("nobody waits for this work any more")


def say_result(result: dict[str, Any]) -> None:
    """The working side: returns when the measurement has looked at this process for the last time."""
    sys.stdout.buffer.write(json.dumps(result).encode() + b"\n")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()
