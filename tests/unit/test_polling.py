"""Our servers read the network in the thread that waits for gRPC's events, unless the user has said otherwise."""

import os
import subprocess
import sys
from typing import Any

import grpc
import pytest

from sluice.rpc.polling import ENVIRONMENT

CALLS = 500

# It answers UNIMPLEMENTED, and says at its end how often gRPC's own threads were given the processor.
SERVER = """
import asyncio, pathlib, sys
import commands
from sluice.rpc import server

def turns(thread):
    status = (thread / "status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if "_ctxt_switches" in line)

async def main():
    made = server.new_server()
    print(await server.start(made, "127.0.0.1:0"), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    threads = pathlib.Path("/proc/self/task").iterdir()
    print(sum(turns(each) for each in threads if "event_engine" in (each / "comm").read_text()), flush=True)
    await made.stop(None)

asyncio.run(main())
"""


def _turns_of_grpcs_threads(environment: dict[str, str]) -> int:
    """While a server process answers CALLS calls, one after the other."""
    own = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own | environment
    )
    assert process.stdin
    assert process.stdout
    with process:
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            method: Any = channel.unary_unary("/some.Service/Method")
            for _ in range(CALLS):
                with pytest.raises(grpc.RpcError):
                    method(b"", timeout=5.0)
        process.stdin.close()
        return int(process.stdout.readline())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_grpcs_own_threads_have_little_to_do() -> None:
    by_default = _turns_of_grpcs_threads(dict.fromkeys(ENVIRONMENT, ""))
    assert by_default > CALLS
    assert _turns_of_grpcs_threads({}) < by_default / 5


def test_programs_that_are_started_do_not_inherit_it() -> None:
    ask = "import commands, os; print('GRPC_EXPERIMENTS' in os.environ)"
    own = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    answer = subprocess.run([sys.executable, "-c", ask], env=own, capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "False"
