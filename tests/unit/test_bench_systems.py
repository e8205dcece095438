"""A measurement, which sells a billion units, goes to servers that it started itself and to no others."""

import os
import socket

import pytest

from bench.systems import ForeignServer, check_holder


@pytest.mark.parametrize("shape", ["127.0.0.1:{}", "postgresql://sluice@127.0.0.1:{}/sluice"])
def test_a_port_held_by_another_process_is_refused(shape: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = shape.format(listening.getsockname()[1])
        check_holder("ours", os.getpid(), endpoint)
        with pytest.raises(ForeignServer, match=f"is held by process {os.getpid()}"):
            check_holder("another", os.getpid() + 1, endpoint)


def test_a_port_that_nobody_holds_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = f"127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(ForeignServer, match="nobody"):
        check_holder("ours", os.getpid(), endpoint)
