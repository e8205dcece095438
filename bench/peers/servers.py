"""The servers that peers need, besides those of the cluster: each in a directory of its own, gone afterwards."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from deploy.local import redis
from deploy.local.ports import LOOPBACK, accepts, free_port
from deploy.local.processes import Command, NotAnsweringError, Process

FORMAT_LIMIT_S = 60.0

# `--development` lets it run where the file system has no direct I/O (else it uses it), and makes batches small: the
# limit is that of production again. A cache of 1 GiB is the default; some million transfers need less of it.
_TIGERBEETLE_OPTIONS = ("--development", "--experimental", "--limit-request=1MiB", "--cache-grid=256MiB")


class PeerServer(NamedTuple):
    """A server that runs: where it is, its processes by name, and the settings that its promises depend on."""

    address: str
    pids: Mapping[str, int]
    facts: Mapping[str, Any]


@contextmanager
def redis_without_log(directory: Path, program: Path) -> Iterator[PeerServer]:
    with _redis(directory, program, "always", ("--appendonly", "no")) as server:
        yield server


@contextmanager
def redis_with_synced_log(directory: Path, program: Path) -> Iterator[PeerServer]:
    with _redis(directory, program, "always", ()) as server:
        yield server


@contextmanager
def tigerbeetle(directory: Path, program: Path) -> Iterator[PeerServer]:
    """One replica; it syncs its log before it answers."""
    home = directory / "tigerbeetle"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    data = home / "0_0.tigerbeetle"
    layout = ("--cluster=0", "--replica=0", "--replica-count=1", "--development")
    subprocess.run(
        [program, "format", *layout, data], check=True, capture_output=True, timeout=FORMAT_LIMIT_S, cwd=home
    )
    port = free_port()
    command = Command(
        name="tigerbeetle",
        argv=(str(program), "start", f"--addresses={LOOPBACK}:{port}", *_TIGERBEETLE_OPTIONS, str(data)),
        directory=home,
        log=directory / "tigerbeetle.log",
        listens=((LOOPBACK, port),),
    )
    process = Process(command, partial(_accepts, port))
    try:
        process.start()
        assert process.identity
        facts = {"version": "0.17.9", "replicas": 1, "options": " ".join(_TIGERBEETLE_OPTIONS), "synced": "each batch"}
        yield PeerServer(f"{LOOPBACK}:{port}", {"tigerbeetle": process.identity.pid}, facts)
    finally:
        process.kill()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _redis(
    directory: Path, program: Path, appendfsync: redis.Appendfsync, more: tuple[str, ...]
) -> Iterator[PeerServer]:
    port = free_port()
    home = directory / f"redis-{port}"
    process = redis.create(home, port, appendfsync, program, directory / "redis.log")
    process.command = replace(process.command, argv=(*process.command.argv, *more))
    try:
        process.start()
        assert process.identity
        yield PeerServer(redis.url(port), {"redis": process.identity.pid}, redis_facts(port))
    finally:
        process.kill()
        shutil.rmtree(home, ignore_errors=True)


def redis_facts(port: int) -> dict[str, str]:
    """Read from the running server."""
    from redis import Redis  # noqa: PLC0415 - the name of our own module here

    with Redis(host=LOOPBACK, port=port) as client:
        version = str(client.info("server")["redis_version"])
        return {"version": version} | {
            name: str(client.config_get(name)[name]) for name in ("appendonly", "appendfsync", "save")
        }


def _accepts(port: int) -> None:
    if not accepts(LOOPBACK, port):
        raise NotAnsweringError(f"nothing listens on port {port}")
