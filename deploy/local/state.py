"""The cluster's state file: what was started, so that a later command finds it again and touches nothing else."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import SIGTERM, Signals
from typing import NamedTuple

from deploy.local.layout import ClusterSpec
from deploy.local.processes import Identity

_FILE = "state.json"
_LOCK = "lock"
# A file of another format is refused, not misread.
_FORMAT = 1


class StateError(Exception):
    """The state file cannot be used; the text says why."""


class Record(NamedTuple):
    """One process that was started and should be running."""

    name: str
    role: str
    identity: Identity
    endpoint: str | None
    metrics: str | None
    log: str
    stop_signal: Signals = SIGTERM


@dataclass(frozen=True)
class State:
    """`records` is empty for a cluster that was taken down; its ports and size are kept for the next start."""

    spec: ClusterSpec
    ports: dict[str, int]
    records: tuple[Record, ...] = ()


def load(directory: Path) -> State | None:
    """The state of the cluster in `directory`, None when there was never one. Raises StateError."""
    path = directory / _FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        if fields["format"] != _FORMAT:
            raise StateError(f"{path} has format {fields['format']}, this version knows {_FORMAT}")
        return State(
            # The directory is where the file was found: a cluster that is down may have been moved.
            spec=ClusterSpec(**fields["spec"] | {"directory": directory}),
            ports=fields["ports"],
            records=tuple(_record(record) for record in fields["records"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path} cannot be read: {error!r}") from error


def save(state: State) -> None:
    fields = {
        "format": _FORMAT,
        "spec": asdict(state.spec) | {"directory": str(state.spec.directory)},
        "ports": state.ports,
        "records": [record._asdict() | {"identity": record.identity._asdict()} for record in state.records],
    }
    path = state.spec.directory / _FILE
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(fields, indent=1) + "\n")
    # Replaced in one step: a killed launcher must not leave half a file, which would lose its processes.
    fresh.replace(path)


def remove(directory: Path) -> None:
    (directory / _FILE).unlink(missing_ok=True)
    (directory / _LOCK).unlink(missing_ok=True)


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """One command at a time changes a cluster. Raises StateError while another one does."""
    directory.mkdir(parents=True, exist_ok=True)
    # O_CLOEXEC is Python's default: the servers do not inherit the lock.
    descriptor = os.open(directory / _LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(f"another command is changing the cluster in {directory}") from error
        yield
    finally:
        os.close(descriptor)


def _record(fields: dict[str, object]) -> Record:
    identity = fields["identity"]
    assert isinstance(identity, dict)
    return Record(**fields | {"identity": Identity(**identity), "stop_signal": Signals(fields["stop_signal"])})  # type: ignore[arg-type]
