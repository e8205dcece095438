"""The launcher ends the process that it started, all of it, and never another one."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.ports import LOOPBACK, PortHeldError
from deploy.local.processes import (
    Command,
    Identity,
    NotAnsweringError,
    Process,
    StartError,
    family,
    identify,
    is_alive,
    kill,
    launch,
    send,
    terminate,
)

IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
HAS_A_CHILD = "import subprocess,sys; print('ready', flush=True); subprocess.run(['sleep', '60'])"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Identity]]:
    started: list[Identity] = []

    def start(*argv: str) -> Identity:
        started.append(launch(Command("victim", argv, tmp_path, tmp_path / "victim.log")))
        return started[-1]

    yield start
    for identity in started:
        kill(family(identity))


def until_ready(tmp_path: Path, process: Process) -> None:
    def says_ready() -> None:
        if "ready" not in (tmp_path / "victim.log").read_text():
            raise NotAnsweringError("not ready")

    process.wait_until(says_ready)


def test_a_process_that_took_over_the_pid_is_left_alone(start: Callable[..., Identity]) -> None:
    stranger = start("sleep", "60")
    ours_before = stranger._replace(start_ticks=stranger.start_ticks - 1)

    assert not is_alive(ours_before)
    assert not send(ours_before, signal.SIGKILL)
    terminate(ours_before, limit_s=0)
    kill(family(ours_before))

    assert is_alive(stranger)


def test_a_process_from_before_a_reboot_is_left_alone(start: Callable[..., Identity]) -> None:
    stranger = start("sleep", "60")
    ours_before = stranger._replace(boot_id="00000000-0000-0000-0000-000000000000")

    terminate(ours_before, limit_s=0)

    assert not is_alive(ours_before)
    assert is_alive(stranger)


def test_an_ended_process_is_not_alive_even_before_anybody_reaps_it(start: Callable[..., Identity]) -> None:
    identity = start("sleep", "60")
    assert send(identity, signal.SIGKILL)
    kill([identity])
    assert not is_alive(identity)
    assert not send(identity, signal.SIGTERM)
    assert identify(identity.pid) != identity


def test_a_process_that_ignores_its_stop_signal_is_killed_after_the_limit(
    start: Callable[..., Identity], tmp_path: Path
) -> None:
    command = Command("victim", (sys.executable, "-c", IGNORES_SIGTERM), tmp_path, tmp_path / "victim.log")
    process = Process(command, lambda: None, start(*command.argv))
    until_ready(tmp_path, process)

    process.terminate(limit_s=0.2)

    assert not process.alive


def test_a_frozen_process_ends_in_order(start: Callable[..., Identity]) -> None:
    identity = start("sleep", "60")
    process = Process(Command("victim", (), Path(), Path()), lambda: None, identity)
    process.stop()
    assert process.alive

    process.terminate()

    assert not process.alive


def test_the_descendants_of_a_killed_process_end_with_it(start: Callable[..., Identity], tmp_path: Path) -> None:
    command = Command("victim", (sys.executable, "-c", HAS_A_CHILD), tmp_path, tmp_path / "victim.log")
    process = Process(command, lambda: None, start(*command.argv))
    until_ready(tmp_path, process)
    assert process.identity is not None

    def has_a_child() -> None:
        assert process.identity is not None
        if len(family(process.identity)) < 2:
            raise NotAnsweringError("no child yet")

    process.wait_until(has_a_child)
    members = family(process.identity)

    process.kill()

    assert not any(is_alive(member) for member in members)


def test_a_process_that_ends_before_it_answers_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    def never() -> None:
        raise NotAnsweringError("nothing there")

    command = Command("victim", ("sh", "-c", "echo cannot open my data; exit 3"), tmp_path, tmp_path / "victim.log")
    with pytest.raises(StartError, match="cannot open my data"):
        Process(command, never).start()


def test_an_answer_on_the_port_of_a_process_that_ended_is_not_taken_for_its_own(tmp_path: Path) -> None:
    command = Command("victim", ("true",), tmp_path, tmp_path / "victim.log")
    process = Process(command, lambda: None)

    def answers_once_it_ended() -> None:
        if process.alive:
            raise NotAnsweringError("still there")

    process.answers = answers_once_it_ended
    with pytest.raises(StartError, match="ended"):
        process.start()


def test_a_process_whose_port_another_one_holds_is_not_started(tmp_path: Path) -> None:
    log = tmp_path / "victim.log"
    with socket.create_server((LOOPBACK, 0)) as other:
        address = other.getsockname()
        process = Process(Command("victim", ("sleep", "60"), tmp_path, log, listens=(address,)), lambda: None)
        with pytest.raises(PortHeldError, match=f"{address[1]}.*victim.*process {os.getpid()}"):
            process.start()
    assert not log.exists()


def test_an_answer_of_another_process_on_its_port_is_not_taken_for_its_own(tmp_path: Path) -> None:
    address = (LOOPBACK, _free_port())
    with socket.socket() as other:

        def another_one_takes_it_and_answers() -> None:
            if other.getsockname()[1] == 0:  # two launchers have both found the port free
                other.bind(address)
                other.listen()

        command = Command("victim", ("sleep", "60"), tmp_path, tmp_path / "victim.log", listens=(address,))
        process = Process(command, another_one_takes_it_and_answers)
        with pytest.raises(StartError, match=f"another process answers on port {address[1]}"):
            process.start(limit_s=0.2)
    assert not process.alive


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_process_that_is_late_is_stopped_again(tmp_path: Path) -> None:
    def never() -> None:
        raise NotAnsweringError("nothing there")

    process = Process(Command("victim", ("sleep", "60"), tmp_path, tmp_path / "victim.log"), never)
    with pytest.raises(StartError, match="nothing there"):
        process.start(limit_s=0.1)
    assert not process.alive


def test_settings_of_the_caller_do_not_leak_into_what_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_JOURNAL_URL", "postgresql://production/")
    environment = {"SLUICE_NAME": "stockd-0"}
    log = tmp_path / "victim.log"
    says_all = ("sh", "-c", "env; echo ready; exec sleep 60")
    process = Process(Command("victim", says_all, tmp_path, log, environment), lambda: None)
    process.start()
    until_ready(tmp_path, process)
    process.terminate()
    assert "SLUICE_NAME=stockd-0" in log.read_text()
    assert "SLUICE_JOURNAL_URL" not in log.read_text()
