"""One Redis on a loopback port that keeps every write in its log (append-only file)."""

from functools import partial
from pathlib import Path
from typing import Literal

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from deploy.local.ports import LOOPBACK
from deploy.local.processes import Command, NotAnsweringError, Process

Appendfsync = Literal["always", "everysec"]
"""When the log is forced to the disk: before every answer, or once a second."""

_ANSWER_LIMIT_S = 3.0

_SETTINGS = {
    "bind": LOOPBACK,
    "daemonize": "no",
    "appendonly": "yes",
    # While the log is being rewritten too; else `always` would not mean always.
    "no-appendfsync-on-rewrite": "no",
    # The log is all that is needed; a snapshot beside it only costs memory and disk.
    "save": "",
    # A ledger that is evicted to make room would be units that never existed.
    "maxmemory-policy": "noeviction",
}


def url(port: int) -> str:
    return f"redis://{LOOPBACK}:{port}/0"


def create(directory: Path, port: int, appendfsync: Appendfsync, program: Path, log: Path) -> Process:
    """A server with its data in `directory`. Trusts every local user: for development only."""
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    settings = _SETTINGS | {"port": str(port), "dir": str(directory), "appendfsync": appendfsync}
    options = [argument for name, value in settings.items() for argument in (f"--{name}", value)]
    command = Command(
        name="redis",
        argv=(str(program), *options),
        directory=directory,
        log=log,
        listens=((LOOPBACK, port),),
    )
    return Process(command, partial(answers, port))


def answers(port: int) -> None:
    """PING; a server that still reads its log refuses it. Raises NotAnsweringError."""
    with Redis(
        host=LOOPBACK,
        port=port,
        socket_timeout=_ANSWER_LIMIT_S,
        socket_connect_timeout=_ANSWER_LIMIT_S,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        try:
            client.ping()
        except RedisError as error:
            raise NotAnsweringError(f"PING: {error}") from error
