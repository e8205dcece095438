"""The state file brings back exactly what was started, and ports that peers know are kept."""

import socket
from pathlib import Path
from signal import SIGINT

import pytest

from deploy.local import cluster, state
from deploy.local.layout import ClusterSpec, assign_ports, listeners
from deploy.local.ports import LOOPBACK, PortHeldError, free_port
from deploy.local.processes import Identity
from deploy.local.state import Record, State, StateError

NOBODY = Identity(2**22 + 1, 1, "another boot")


def test_what_was_saved_is_loaded_again(tmp_path: Path) -> None:
    record = Record("postgres", "postgres", NOBODY, "postgresql://x", None, "/log", SIGINT)
    saved = State(ClusterSpec(tmp_path, nodes=3, stockds=5), {"postgres": 5432}, (record,))
    state.save(saved)
    assert state.load(tmp_path) == saved


def test_a_directory_without_a_cluster_has_no_state(tmp_path: Path) -> None:
    assert state.load(tmp_path) is None
    assert not cluster.status(tmp_path).running


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', '{"format": 99}', "[]"])
def test_a_state_file_that_cannot_be_used_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(StateError, match=r"state\.json"):
        state.load(tmp_path)


def test_two_commands_do_not_change_one_cluster_together(tmp_path: Path) -> None:
    with state.exclusive(tmp_path), pytest.raises(StateError, match="another command"), state.exclusive(tmp_path):
        pass
    with state.exclusive(tmp_path):
        pass


def test_a_cluster_with_an_ended_process_is_not_running(tmp_path: Path) -> None:
    record = Record("kafka", "kafka", NOBODY, "127.0.0.1:9092", None, "/log")
    spec = ClusterSpec(tmp_path, stockds=0, gateways=0, relays=0)
    state.save(State(spec, assign_ports(spec, {}, ()), (record,)))
    found = cluster.status(tmp_path)
    assert [process.alive for process in found.processes] == [False]
    assert not found.running


def test_purge_deletes_what_the_cluster_made_and_nothing_else(tmp_path: Path) -> None:
    state.save(State(ClusterSpec(tmp_path), {}))
    (tmp_path / "logs").mkdir()
    (tmp_path / "kafka").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    cluster.down(tmp_path, purge=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_every_listener_gets_a_port_of_its_own(tmp_path: Path) -> None:
    spec = ClusterSpec(tmp_path, nodes=3, stockds=4, gateways=3, relays=2)
    ports = assign_ports(spec, {}, ())
    assert set(ports) == {listener.key for listener in listeners(spec)}
    assert len(set(ports.values())) == len(ports)


def test_ports_are_the_same_at_the_next_start(tmp_path: Path) -> None:
    spec = ClusterSpec(tmp_path)
    ports = {listener.key: free_port() for listener in listeners(spec)}
    assert assign_ports(spec, ports, ()) == ports


def test_a_port_lost_while_the_cluster_was_down_is_replaced_unless_data_refers_to_it(
    tmp_path: Path,
) -> None:
    spec = ClusterSpec(tmp_path)
    ports = assign_ports(spec, {}, ())
    ports |= {key: free_port() for key in ("gateway-0", "cassandra-storage")}
    with socket.create_server((LOOPBACK, ports["gateway-0"])):
        assert assign_ports(spec, ports, ())["gateway-0"] != ports["gateway-0"]
    with (
        socket.create_server((LOOPBACK, ports["cassandra-storage"])),
        pytest.raises(PortHeldError, match=r"cassandra-storage.*pytest"),
    ):
        assign_ports(spec, ports, ())


def test_a_port_lost_while_others_still_run_is_an_error_because_they_know_it(tmp_path: Path) -> None:
    spec = ClusterSpec(tmp_path)
    ports = {listener.key: free_port() for listener in listeners(spec)}
    with socket.create_server((LOOPBACK, ports["stockd-0"])), pytest.raises(PortHeldError, match="stockd-0"):
        assign_ports(spec, ports, {"gateway-0"})


def test_the_ports_of_living_processes_are_theirs(tmp_path: Path) -> None:
    spec = ClusterSpec(tmp_path)
    ports: dict[str, int] = {}
    for listener in listeners(spec):
        ports[listener.key] = free_port(taken=ports.values())
    with socket.create_server((LOOPBACK, ports["stockd-0"])):
        assert assign_ports(spec, ports, {"stockd-0"}) == ports


def test_two_cassandra_nodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2"):
        ClusterSpec(tmp_path, nodes=2)
