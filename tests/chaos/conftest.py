"""One system for all tests of this folder: three Cassandra nodes need the better part of a minute to start."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.processes import Process, StartError
from tests.chaos.system import System, running_system
from tests.servers import server_directory

LIMIT_S = 420
"""The first test starts the system, with an empty cache after a download."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent and "system" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)
            item.add_marker(pytest.mark.timeout(LIMIT_S))


@pytest.fixture(scope="package")
def whole_system() -> Iterator[System]:
    with server_directory() as directory, running_system(directory / "chaos", lambda _: None) as started:
        yield started


@pytest.fixture
def system(whole_system: System, request: pytest.FixtureRequest) -> Iterator[System]:
    """Whole again after the test, whatever the test broke and however it ended. Logs are kept when it failed."""
    failed_before = request.session.testsfailed
    yield whole_system
    whole_system.network.clear_all()
    for name in whole_system.names:
        whole_system.cluster.process(name).cont()
    for name in whole_system.names:
        _start_unless_it_answers(whole_system.cluster.process(name))
    if request.session.testsfailed > failed_before:
        kept = tempfile.mkdtemp(prefix="sluice-chaos-logs-")
        shutil.copytree(whole_system.cluster.spec.directory / "logs", kept, dirs_exist_ok=True)
        sys.stderr.write(f"the logs are kept in {kept}\n")


def _start_unless_it_answers(process: Process) -> None:
    """One that hung for long may have been fenced: then it ends by itself, a moment after it woke."""
    if process.alive:
        with contextlib.suppress(StartError):
            process.wait_until(process.answers)
            return
    process.launch()
    process.wait_until(process.answers)
