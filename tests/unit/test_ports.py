"""The launcher takes no port that somebody uses, and says who uses it."""

import os
import socket
from pathlib import Path

from deploy.local.ports import LOOPBACK, free_port, holder, is_free, usual_or_free


def test_a_free_port_can_be_bound_and_is_no_ephemeral_one() -> None:
    port = free_port()
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert port < first_ephemeral
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port)


def test_a_port_must_be_free_on_every_address_it_is_wanted_on() -> None:
    port = free_port(["127.0.0.1", "127.0.0.2"])
    with socket.create_server(("127.0.0.2", port)):
        assert is_free(port, ["127.0.0.1"])
        assert not is_free(port, ["127.0.0.1", "127.0.0.2"])


def test_a_port_that_listens_on_all_addresses_is_not_free_on_loopback() -> None:
    port = free_port()
    with socket.create_server(("0.0.0.0", port)):
        assert not is_free(port)


def test_the_usual_port_is_taken_only_while_nobody_else_has_it() -> None:
    usual = free_port()
    assert usual_or_free(usual) == usual
    assert usual_or_free(usual, taken=[usual]) != usual
    with socket.create_server((LOOPBACK, usual)):
        assert usual_or_free(usual) != usual


def test_the_holder_of_a_port_is_named_by_pid_and_command() -> None:
    port = free_port()
    assert holder(port) is None
    with socket.create_server((LOOPBACK, port)):
        found = holder(port)
        assert found is not None
        assert found.pid == os.getpid()
        assert "pytest" in str(found)
        assert str(os.getpid()) in str(found)
