"""In open loop nobody is let off a wait: while a server stands still orders go on being due, and their latency counts
from then. A closed loop would send nothing meanwhile, and show one slow order for each caller.
"""

import os
import signal
import time
from pathlib import Path

from bench.latencies import Latencies
from bench.loads.tally import ACCEPTED
from bench.stage import LOADS
from bench.systems import noop
from bench.workers import worker

RATE = 200.0
SECONDS = 2.0
STALL_S = 0.8


def test_orders_that_were_due_while_the_server_stood_still_are_slow(tmp_path: Path) -> None:
    with noop(tmp_path) as server:
        settings = {
            "kind": "at_rate",
            "endpoint": server.endpoint,
            "skus": ["mug"],
            "rate": RATE,
            "warm_s": 0.2,
            "seconds": SECONDS,
        }
        with worker(LOADS, settings) as load:
            load.wait_until_warm()
            load.begin()
            os.kill(server.pids["noop"], signal.SIGSTOP)
            time.sleep(STALL_S)
            os.kill(server.pids["noop"], signal.SIGCONT)
            result = load.result()
    assert result["offered"] == result["accepted"] == RATE * SECONDS
    assert ACCEPTED not in result["refused"]
    # Due all along the stall: the first waited for the whole of it, and a quarter of all for more than half of that.
    latencies = Latencies.joined([result["latencies"]])
    assert result["latency_ms"]["max"] >= 900 * STALL_S
    slow = sum(1 for percent in range(1, 101) if latencies.at_percent_ms(percent) >= 500 * STALL_S)
    assert slow / 100 >= 0.75 * (STALL_S / 2) / SECONDS
