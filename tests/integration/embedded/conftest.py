"""`sluice serve` as a process of its own: one for all tests of a file, or one that a test may stop, kill and start."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from audit.running import AuditReport, run_audit
from commands.audit import embedded_parts
from commands.data_dir import DATABASE_FILE
from deploy.local.layout import address
from deploy.local.ports import free_port
from deploy.local.processes import Command, Process
from deploy.local.services import serves
from journal.embedded_log import EmbeddedLog
from journal.sqlite import SqliteJournal
from sluice.seams.event_log import Event
from sluice.sqlite_file import SqliteFile
from tests.integration.buying import Client, connected


class Embedded(NamedTuple):
    """A gateway in one process. Its port and data outlive the process."""

    endpoint: str
    data_dir: Path
    process: Process
    http: str
    """Where /metrics, /livez and /readyz are."""


def make_embedded(directory: Path, *options: str, answers: Callable[[str], None] = serves) -> Embedded:
    """Not started yet. `answers`: as `serves`, for one that is asked in another way."""
    port = free_port()
    http_port = free_port(taken=[port])
    endpoint = address(port)
    data_dir = directory / "data"
    command = Command(
        name="embedded",
        argv=(
            *(sys.executable, "-m", "commands.main", "serve"),
            *("--listen", endpoint, "--metrics-listen", address(http_port), "--data-dir", str(data_dir), *options),
        ),
        directory=directory,
        log=directory / "embedded.log",
        environment={"SLUICE_LOG_FORMAT": "json"},
        listens=(("127.0.0.1", port), ("127.0.0.1", http_port)),
    )
    return Embedded(endpoint, data_dir, Process(command, partial(answers, endpoint)), f"http://{address(http_port)}")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Shared by the tests of one file, which leave it running."""
    yield from _running(tmp_path_factory.mktemp("embedded"))


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[Embedded]:
    """For one test, which may do with it what it likes."""
    yield from _running(tmp_path)


def _running(directory: Path) -> Iterator[Embedded]:
    embedded = make_embedded(directory)
    embedded.process.start()
    try:
        yield embedded
    finally:
        embedded.process.kill()


@pytest.fixture
async def clients(gateway: Embedded) -> AsyncIterator[list[Client]]:
    """Eight connections."""
    async with connected([gateway.endpoint], 8) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    """For SKUs and customers that no other test has."""
    return uuid4().hex[:12]


async def logged_events(embedded: Embedded, topic: str) -> list[Event]:
    """Read beside the running process."""
    file = await SqliteFile.open_read_only(embedded.data_dir / DATABASE_FILE)
    try:
        log = EmbeddedLog(await SqliteJournal.open(file))
        return [each.event async for each in log.read(topic, follow=False)]
    finally:
        await file.close()


async def audit_files(embedded: Embedded) -> AuditReport:
    async with embedded_parts(embedded.data_dir) as parts:
        return await run_audit(parts.journal, parts.store, parts.log)
