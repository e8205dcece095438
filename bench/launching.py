"""Our own modules as processes beside the measurement, with a log each, surely stopped."""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local.ports import LOOPBACK, accepts
from deploy.local.processes import Command, NotAnsweringError, Process
from sluice.rpc import polling

_NO_SETTINGS: Mapping[str, str] = {}


def module(
    name: str, directory: Path, port: int, *arguments: str, settings: Mapping[str, str] = _NO_SETTINGS
) -> Command:
    """`python -m` with `arguments`; `settings` as its environment."""
    return Command(
        name=name,
        argv=(sys.executable, "-m", *arguments),
        directory=directory,
        log=directory / f"{name}.log",
        environment={"SLUICE_LOG_LEVEL": "warning", **polling.ENVIRONMENT, **settings},
        listens=((LOOPBACK, port),),
        stop_signal=signal.SIGTERM,
    )


@contextmanager
def running(process: Process) -> Iterator[int]:
    try:
        process.start()
        assert process.identity
        yield process.identity.pid
    finally:
        process.terminate()


def accepts_connections(port: int) -> None:
    if not accepts(LOOPBACK, port):
        raise NotAnsweringError(f"nothing listens on port {port}")
