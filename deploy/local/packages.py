"""What the servers need from the machine: Java 17, Maven, PostgreSQL, and Redis for who wants it."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from deploy.local import jvm

_POSTGRES_ROOTS = (Path("/usr/lib/postgresql"), Path("/opt/homebrew/opt"), Path("/usr/pgsql"))
# Mirrors are slow at times; a hung apt must still end.
_INSTALL_LIMIT_S = 900.0
# An init script that does not come back must not hold us for ever.
_SERVICE_LIMIT_S = 60.0


class MissingError(Exception):
    """Programs are missing and could not be installed. The text names all of them and the command to run."""


class Programs(NamedTuple):
    java: Path
    postgres_bin: Path


def require(say: Callable[[str], None] = lambda _: None) -> Programs:
    """Find the programs; as root on a Debian-like system install what is missing. Raises MissingError."""
    _bring("The local cluster", _missing, say)
    java, postgres_bin = jvm.find_java(), find_postgres()
    assert java is not None
    assert postgres_bin is not None
    return Programs(java, postgres_bin)


def require_redis(say: Callable[[str], None] = lambda _: None) -> Path:
    """The redis-server program, which only who asks for it needs; installed like the others. Raises MissingError."""
    if _missing_redis():
        _bring("A local Redis", _missing_redis, say)
        _end_debians_redis()
    program = shutil.which("redis-server")
    assert program is not None
    return Path(program)


def find_postgres() -> Path | None:
    """The directory with initdb, postgres and psql: the newest installed. Debian keeps it off the PATH."""
    candidates = [path.parent for root in _POSTGRES_ROOTS for path in root.glob("*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        candidates.append(Path(on_path).resolve().parent)
    usable = [path for path in candidates if (path / "postgres").exists() and (path / "psql").exists()]
    return max(usable, key=_version, default=None)


def _version(bin_directory: Path) -> int:
    name = bin_directory.parent.name.removeprefix("postgresql@")
    return int(name) if name.isdigit() else 0


def _missing() -> dict[str, str]:
    """What is missing, for people, and the Debian package that brings it."""
    missing = {}
    if jvm.find_java() is None:
        missing["a Java 17 runtime"] = "openjdk-17-jre-headless"
    if shutil.which("mvn") is None:
        missing["Maven (mvn)"] = "maven"
    if find_postgres() is None:
        missing["PostgreSQL (initdb, postgres, psql)"] = "postgresql"
    return missing


def _missing_redis() -> dict[str, str]:
    return {} if shutil.which("redis-server") else {"Redis (redis-server)": "redis-server"}


def _bring(what: str, find_missing: Callable[[], dict[str, str]], say: Callable[[str], None]) -> None:
    missing = find_missing()
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {', '.join(missing)} with apt-get")
        _install(list(missing.values()))
        missing = find_missing()
    if missing:
        raise MissingError(
            f"{what} needs {', '.join(missing)}. Install with:\n"
            f"    sudo apt-get update && sudo apt-get install --yes {' '.join(missing.values())}"
        )


def _end_debians_redis() -> None:
    """Debian's package starts a server on port 6379, now and at every boot. Called only right after the package was
    installed for us: then nobody else can be using that server.
    """
    for argv in (["service", "redis-server", "stop"], ["update-rc.d", "redis-server", "disable"]):
        # On a machine that starts no services (most containers) there is nothing to end, and that is no failure.
        subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SERVICE_LIMIT_S,
            check=False,
        )


def _install(packages: list[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        # A failure shows in the second look at what is missing, with the command that a person can try.
        subprocess.run(
            ["apt-get", "-qq", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=_INSTALL_LIMIT_S,
            check=False,
        )
