"""Loopback ports: which are free, and who holds one that is not."""

import random
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"
# Below the kernel's ephemeral range: a port inside it may be taken by any outgoing connection while its server is
# being restarted. 10240 keeps clear of the well-known ports of databases and brokers.
_LOWEST_PORT = 10240
_ATTEMPTS = 200


class Holder(NamedTuple):
    """The process that listens on a port."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


class PortHeldError(Exception):
    """Another process listens where one of ours must listen; the text names both."""

    def __init__(self, port: int, needed_by: str) -> None:
        self.port = port
        who = holder(port) or "another user's process"
        super().__init__(f"port {port}, which {needed_by} needs, is held by {who}")


def is_free(port: int, hosts: Iterable[str] = (LOOPBACK,)) -> bool:
    return all(_can_bind(host, port) for host in hosts)


def free_port(hosts: Iterable[str] = (LOOPBACK,), *, taken: Iterable[int] = ()) -> int:
    """A random port, not in `taken`, that nobody listens on on any of `hosts`. Raises OSError when there is none."""
    hosts, taken = tuple(hosts), frozenset(taken)
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]) - 1
    for _ in range(_ATTEMPTS):
        port = random.randint(_LOWEST_PORT, max(highest, _LOWEST_PORT + 1000))  # noqa: S311 - no secret
        if port not in taken and is_free(port, hosts):
            return port
    raise OSError(f"no free port found between {_LOWEST_PORT} and {highest} on {', '.join(hosts)}")


def usual_or_free(usual: int, hosts: Iterable[str] = (LOOPBACK,), *, taken: Iterable[int] = ()) -> int:
    hosts, taken = tuple(hosts), frozenset(taken)
    return usual if usual not in taken and is_free(usual, hosts) else free_port(hosts, taken=taken)


def accepts(host: str, port: int, limit_s: float = 1.0) -> bool:
    """True when something takes connections there."""
    try:
        socket.create_connection((host, port), timeout=limit_s).close()
    except OSError:
        return False
    return True


def holder(port: int) -> Holder | None:
    """Who listens on `port`; None when nobody does, or when it is another user's process that we may not look into."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not sockets:
        return None
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds_any(process, sockets):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return Holder(int(process.name), command)
    return None


def listens(pids: Iterable[int], port: int) -> bool:
    """Whether one of the processes listens on `port`."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return any(_holds_any(Path("/proc") / str(pid), sockets) for pid in pids)


def _can_bind(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server that are still in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(fields[9])
    return inodes


def _holds_any(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(descriptor.readlink()) in sockets for descriptor in (process / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
