"""Which of our processes is at the other end of a connection that comes in over loopback.

The kernel knows: the calling socket stands in /proc/net/tcp with its ports and an inode, and the inode among the
descriptors of its process. So a link is told from the others without a port of its own for each pair, and without
knowing what is spoken on it.
"""

from collections.abc import Mapping
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def calling_process(caller_port: int, server_port: int, pids: Mapping[str, int]) -> str | None:
    """The name among `pids` whose process connected from `caller_port` to `server_port`; None if it is none of them,
    or has hung up already.
    """
    sockets = {f"socket:[{inode}]" for inode in _inodes(caller_port, server_port)}
    if not sockets:
        return None
    return next((name for name, pid in pids.items() if _holds_any(pid, sockets)), None)


def _inodes(local_port: int, remote_port: int) -> set[str]:
    # gRPC and the JVM call 127.0.0.1 from sockets of IPv6 too; so ports are compared, and addresses are not.
    local, remote = f":{local_port:04X}", f":{remote_port:04X}"
    found = set()
    for table in _TABLES:
        for line in table.read_text().splitlines()[1:]:
            if local not in line:
                continue
            fields = line.split()
            if fields[1].endswith(local) and fields[2].endswith(remote):
                found.add(fields[9])
    return found - {"0"}


def _holds_any(pid: int, sockets: set[str]) -> bool:
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # it ended
        return False
    return any(_points_at(descriptor) in sockets for descriptor in descriptors)


def _points_at(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except OSError:  # closed while we looked; the others are still there
        return None
