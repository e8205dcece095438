"""Programs of the local cluster: started with a log file, recognised later, stopped without hitting anything else."""

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from deploy.local.ports import PortHeldError, is_free, listens

# A server that answers is found at most this much later than it could have been.
_POLL_INTERVAL_S = 0.1
# A JVM with a warm page cache needs 2 to 7 s; three of them on two busy cores were seen to need 25 s.
START_LIMIT_S = 120.0
# Longer than a Cassandra drain or a PostgreSQL shutdown checkpoint of this size takes.
STOP_LIMIT_S = 30.0
# After SIGKILL only the kernel is left to act; more than this means uninterruptible I/O.
_KILL_LIMIT_S = 10.0
_LOG_TAIL_LINES = 30


class Identity(NamedTuple):
    """A process, not merely its number: a recycled pid has another start time, a rebooted machine another boot id."""

    pid: int
    start_ticks: int
    boot_id: str


class NotAnsweringError(Exception):
    """The server does not do its job (yet); the text says what was tried."""


class StartError(Exception):
    """A process did not come up. `log_tail` holds the last lines it wrote."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.log_tail = tail(log)
        super().__init__(f"{name} {reason}; last lines of {log}:\n{self.log_tail}")


@dataclass(frozen=True)
class Command:
    """Everything needed to start the same process again. `user` is the account to run as, None for one's own."""

    name: str
    argv: tuple[str, ...]
    directory: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    # Addresses that must be free at the start: a server that holds one would be taken for ours when it answers.
    listens: tuple[tuple[str, int], ...] = ()
    # What ends it in order.
    stop_signal: signal.Signals = signal.SIGTERM


# Children are kept so that they can be reaped: a killed child stays in the process table until its parent asks for it.
_children: dict[int, subprocess.Popen[bytes]] = {}


def launch(command: Command) -> Identity:
    """Start `command` in a session of its own, so that a Ctrl-C in the caller's terminal does not reach it."""
    command.log.parent.mkdir(parents=True, exist_ok=True)
    account = pwd.getpwnam(command.user) if command.user else None
    with command.log.open("ab") as log:
        child = subprocess.Popen(
            command.argv,
            cwd=command.directory,
            env=_own_environment() | dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
    _children[child.pid] = child
    identity = identify(child.pid)
    # A child that died at once is still a zombie here, and a zombie keeps its start time until it is reaped.
    assert identity is not None
    return identity


def identify(pid: int) -> Identity | None:
    """The identity of whatever has this pid now, None when nothing has."""
    fields = _stat(pid)
    return None if fields is None else Identity(pid, int(fields[19]), _boot_id())


def is_alive(identity: Identity) -> bool:
    """True while this very process runs (a stopped one does; a zombie does not)."""
    child = _children.get(identity.pid)
    if child is not None and child.poll() is not None:
        del _children[identity.pid]
    fields = _stat(identity.pid)
    return fields is not None and not _is_zombie(fields) and identify(identity.pid) == identity


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal this very process; False when it is gone, whoever has its pid now.

    The pid is pinned by a descriptor before the identity is compared, so it cannot be recycled in between.
    """
    try:
        pinned = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(identity):
            return False
        signal.pidfd_send_signal(pinned, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pinned)
    return True


def family(identity: Identity) -> list[Identity]:
    """The process and all its descendants. PostgreSQL's backends go on working when only their parent is signalled."""
    if not is_alive(identity):
        return []
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    members = [identity]
    for member in members:
        members.extend(found for pid in children.get(member.pid, ()) if (found := identify(pid)) is not None)
    return members


def signal_family(identity: Identity, number: signal.Signals) -> None:
    for member in family(identity):
        send(member, number)


def terminate(identity: Identity, limit_s: float = STOP_LIMIT_S, number: signal.Signals = signal.SIGTERM) -> None:
    """Signal, wait, then SIGKILL for what is left of the family. Does nothing when the process is gone.

    Raises TimeoutError when the kernel does not let go of it.
    """
    members = family(identity)
    send(identity, number)
    # A stopped process does not see the signal until it is continued.
    signal_family(identity, signal.SIGCONT)
    if not _gone(members, limit_s):
        kill(members)


def kill(members: list[Identity]) -> None:
    """SIGKILL, and wait until they are gone. Raises TimeoutError."""
    for member in members:
        send(member, signal.SIGKILL)
    if not _gone(members, _KILL_LIMIT_S):
        raise TimeoutError(f"still there {_KILL_LIMIT_S:g} s after SIGKILL: {[member.pid for member in members]}")


class Process:
    """One named process of the cluster: what it runs, how one knows that it answers, and which pid it has now."""

    def __init__(self, command: Command, answers: Callable[[], None], identity: Identity | None = None) -> None:
        self.command = command
        self.answers = answers
        self.identity = identity
        # Told of every new identity before anything else can go wrong, so that no process is ever forgotten.
        self.launched: Callable[[Identity], None] = lambda _: None

    @property
    def alive(self) -> bool:
        return self.identity is not None and is_alive(self.identity)

    def start(self, limit_s: float = START_LIMIT_S) -> None:
        """Start it (same command, environment, ports as ever) and wait until it answers.

        Raises PortHeldError, or StartError, and leaves nothing running then.
        """
        self.launch()
        try:
            self.wait_until(self.answers, limit_s)
        except BaseException:
            self.terminate(limit_s=0)
            raise

    def launch(self) -> None:
        """Start it and do not wait. Raises PortHeldError."""
        for host, port in self.command.listens:
            if not is_free(port, [host]):
                raise PortHeldError(port, self.command.name)
        assert not self.alive, f"{self.command.name} runs already"
        self.identity = launch(self.command)
        try:
            self.launched(self.identity)
        except BaseException:
            self.terminate(limit_s=0)
            raise

    def wait_until(self, answers: Callable[[], None], limit_s: float = START_LIMIT_S) -> None:
        """Ask until `answers` does not raise NotAnsweringError. Raises StartError when the process dies or is late."""
        assert self.identity is not None
        deadline = time.monotonic() + limit_s
        while True:
            refusal = None
            try:
                answers()
            except NotAnsweringError as error:
                refusal = error
            if refusal is None and (foreign := self._ports_of_others()):
                # Started at the same time, it took the port between our look and our start.
                refusal = NotAnsweringError(f"another process answers on port {foreign[0]}")
            # Looked at after the answer: one that came after its end was another process's, on its port.
            if not is_alive(self.identity):
                raise StartError(self.command.name, "ended before it answered", self.command.log) from refusal
            if refusal is None:
                return
            if time.monotonic() > deadline:
                late = f"did not answer in {limit_s:g} s ({refusal})"
                raise StartError(self.command.name, late, self.command.log) from refusal
            time.sleep(_POLL_INTERVAL_S)

    def _ports_of_others(self) -> list[int]:
        """Those of its ports on which neither it nor a descendant listens."""
        assert self.identity is not None
        pids = [member.pid for member in family(self.identity)]
        return [port for _, port in self.command.listens if not listens(pids, port)]

    def terminate(self, limit_s: float = STOP_LIMIT_S) -> None:
        """End it in order: its stop signal, then SIGKILL after the limit."""
        if self.identity is not None:
            terminate(self.identity, limit_s, self.command.stop_signal)

    def kill(self) -> None:
        """End it as a crash would: SIGKILL to it and its descendants."""
        if self.identity is not None:
            kill(family(self.identity))

    def stop(self) -> None:
        """Freeze it (SIGSTOP) with its descendants: connections stay open and nothing answers."""
        if self.identity is not None:
            signal_family(self.identity, signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        if self.identity is not None:
            signal_family(self.identity, signal.SIGCONT)


def tail(log: Path, lines: int = _LOG_TAIL_LINES) -> str:
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return "(no log)"


def _gone(members: list[Identity], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while any(is_alive(member) for member in members):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_INTERVAL_S / 5)
    return True


def _own_environment() -> dict[str, str]:
    # A developer's own SLUICE_* settings must not leak into processes whose settings the launcher decides.
    return {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on (the name before it may hold spaces and brackets)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def _is_zombie(fields: list[str]) -> bool:
    # While other threads are still ending, a killed JVM looks like a zombie and yet holds its ports.
    return fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1)


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
