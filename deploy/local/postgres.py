"""One PostgreSQL on a loopback port."""

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deploy.local.ports import LOOPBACK
from deploy.local.processes import Command, NotAnsweringError, Process

ROLE = "sluice"
DATABASE = "sluice"
# Where data goes that was asked for below a directory the server's account cannot enter (such as /root).
_REACHABLE_ROOT = Path("/var/lib/sluice")
# psql starts in 20 ms; a frozen server must not freeze who asks.
_ANSWER_LIMIT_S = 3.0
_INITDB_LIMIT_S = 120.0

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    # No socket files: the path may be too long for one, and nobody needs it.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    # A checkpoint every few seconds would write full pages again and again under load.
    "max_wal_size": "4GB",
    "wal_compression": "on",
    # What a caller was told is accepted must survive a crash.
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def url(port: int, host: str = LOOPBACK, database: str = DATABASE) -> str:
    return f"postgresql://{ROLE}@{host}:{port}/{database}"


def databases(journals: int) -> Sequence[str]:
    """Of so many journals, by number."""
    return [DATABASE, *(f"{DATABASE}_{number}" for number in range(1, journals))]


def urls(port: int, journals: int, host: str = LOOPBACK) -> str:
    """Of all journals, as the setting `journal_url` takes them."""
    return ",".join(url(port, host, database) for database in databases(journals))


def account() -> str | None:
    """PostgreSQL refuses to run as root: then another account must run it. None means one's own."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def data_directory(directory: Path) -> Path:
    """Where the data of a server in `directory` really is: there, unless the server's account cannot get there."""
    directory = directory.absolute()
    nearest = next(parent for parent in directory.parents if parent.exists())
    if _can_enter(nearest):
        return directory / "data"
    return _REACHABLE_ROOT / f"postgres-{hashlib.sha256(str(directory).encode()).hexdigest()[:16]}"


def create(directory: Path, port: int, bin_directory: Path, log: Path, journals: int = 1) -> Process:
    """A server with its data in `directory`, made at the first call, with a database for each journal. Trusts every
    local user: for development only.
    """
    data = data_directory(directory)
    if not (data / "PG_VERSION").exists():
        _initialise(data, bin_directory, databases(journals))
    options = [argument for name, value in _SETTINGS.items() for argument in ("-c", f"{name}={value}")]
    command = Command(
        name="postgres",
        argv=(str(bin_directory / "postgres"), "-D", str(data), "-p", str(port), *options),
        directory=data,
        log=log,
        user=account(),
        listens=((LOOPBACK, port),),
        # SIGTERM would wait for every client to leave by itself.
        stop_signal=signal.SIGINT,
    )
    return Process(command, partial(answers, port, bin_directory))


def answers(port: int, bin_directory: Path) -> None:
    """SELECT 1 in our database. Raises NotAnsweringError."""
    try:
        run = subprocess.run(
            [bin_directory / "psql", "--no-psqlrc", "-qAtc", "SELECT 1", url(port)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_ANSWER_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotAnsweringError(f"no answer to SELECT 1 in {_ANSWER_LIMIT_S:g} s") from error
    if run.stdout.strip() != "1":
        raise NotAnsweringError(run.stderr.strip())


def remove(directory: Path) -> None:
    """Delete the server's data, wherever it is."""
    shutil.rmtree(data_directory(directory), ignore_errors=True)


def _initialise(data: Path, bin_directory: Path, names: Sequence[str]) -> None:
    # A half-made directory of an earlier, interrupted call would make initdb refuse.
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    data.chmod(0o700)
    user = account()
    if user:
        shutil.chown(data, user, pwd.getpwnam(user).pw_gid)
    _run_as(
        user,
        [
            str(bin_directory / "initdb"),
            f"--pgdata={data}",
            f"--username={ROLE}",
            "--auth=trust",
            "--encoding=UTF8",
            # C sorts by bytes: the same on every machine, and the fastest.
            "--locale=C",
        ],
        data,
    )
    # Single-user mode makes databases without a server to start, wait for and stop.
    _run_as(
        user,
        [str(bin_directory / "postgres"), "--single", "-D", str(data), "postgres"],
        data,
        "".join(f"CREATE DATABASE {name}\n" for name in names),
    )


def _run_as(user: str | None, argv: list[str], directory: Path, text: str = "") -> None:
    run = subprocess.run(
        argv,
        cwd=directory,
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        input=text,
        capture_output=True,
        text=True,
        timeout=_INITDB_LIMIT_S,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"{Path(argv[0]).name} failed:\n{run.stdout}{run.stderr}")


def _can_enter(directory: Path) -> bool:
    user = account()
    if user is None:
        return True
    run = subprocess.run(
        ["test", "-x", directory], cwd="/", user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[], check=False
    )
    return run.returncode == 0
