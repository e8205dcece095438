"""`sluice cluster` starts the servers, repairs a cluster that lost one, and stops what it started and only that."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import cluster
from deploy.local.layout import ClusterSpec
from deploy.local.processes import Command, is_alive, kill, launch
from tests.servers import server_directory

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def servers() -> Iterator[cluster.Cluster]:
    """The three servers without Sluice's own processes."""
    with server_directory() as directory:
        spec = ClusterSpec(directory / "cluster", stockds=0, gateways=0, relays=0)
        try:
            yield cluster.up(spec)
        finally:
            cluster.down(spec.directory, purge=True)
            assert not spec.directory.exists()


def command(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commands.cluster", *arguments, "--data-dir", directory],
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_names_every_process_and_every_endpoint(servers: cluster.Cluster) -> None:
    shown = command("status", "--json", directory=servers.spec.directory)
    assert shown.returncode == 0
    found = json.loads(shown.stdout)
    assert found["running"]
    assert found["endpoints"] == servers.endpoints._asdict()
    assert {process["name"] for process in found["processes"]} == {"postgres", "kafka", "cassandra-1"}
    for process in found["processes"]:
        assert process["alive"]
        assert Path(process["log"]).exists()
        os.kill(process["pid"], 0)


def test_up_on_a_running_cluster_starts_nothing(servers: cluster.Cluster) -> None:
    before = servers.status()
    again = command("up", directory=servers.spec.directory)
    assert again.returncode == 0
    assert "already running" in again.stdout
    assert servers.status() == before


def test_up_starts_only_what_is_missing(servers: cluster.Cluster) -> None:
    before = {process.name: process.pid for process in servers.status().processes}
    servers.process("postgres").kill()
    assert command("status", directory=servers.spec.directory).returncode != 0

    repaired = cluster.up(servers.spec)

    after = {process.name: process.pid for process in repaired.status().processes}
    assert repaired.status().running
    assert {name for name in after if after[name] != before[name]} == {"postgres"}
    assert repaired.endpoints == servers.endpoints


def test_a_process_started_again_by_name_is_the_one_that_status_shows(servers: cluster.Cluster) -> None:
    running = cluster.up(servers.spec)
    process = running.process("postgres")
    process.kill()
    assert not running.status().running
    process.start()
    assert running.status().running


def test_a_cluster_of_another_size_is_refused_and_left_alone(servers: cluster.Cluster) -> None:
    before = servers.status()
    refused = command("up", "--stockd", "3", directory=servers.spec.directory)
    assert refused.returncode != 0
    assert "take it down first" in refused.stderr
    assert servers.status() == before


def test_down_stops_what_the_cluster_started_and_only_that(servers: cluster.Cluster, tmp_path: Path) -> None:
    bystander = launch(Command("bystander", ("sleep", "60"), tmp_path, tmp_path / "bystander.log"))
    try:
        cluster.up(servers.spec)
        pids = [process.pid for process in servers.status().processes]

        stopped = command("down", directory=servers.spec.directory)

        assert stopped.returncode == 0, stopped.stderr
        assert not any(Path(f"/proc/{pid}/cmdline").exists() and _runs(pid) for pid in pids)
        assert is_alive(bystander)
        assert command("status", directory=servers.spec.directory).returncode != 0
        assert command("down", directory=servers.spec.directory).returncode == 0
    finally:
        kill([bystander])


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", maxsplit=1)[1][0] != "Z"
