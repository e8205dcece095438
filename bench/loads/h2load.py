"""h2load, a load generator in C that knows nothing of gRPC: it sends one framed message again and again.

Every request is the same order, so it measures the server's front (HTTP/2, gRPC, the wrapper of a call), with a server
that answers repeats without looking them up. It costs a fraction of what a Python caller costs, which shows how much of
a closed-loop figure is the caller's.
"""

import re
import struct
import subprocess
from pathlib import Path
from typing import Any

CLIENTS = 8
LIMIT_S = 120.0

_COUNTS = re.compile(r"requests: (\d+) total.*?(\d+) succeeded, (\d+) failed")
_RATE = re.compile(r"finished in ([\d.]+)s, ([\d.]+) req/s")


def drive(
    program: Path, endpoint: str, request: bytes, in_flight: int, seconds: float, directory: Path
) -> dict[str, Any]:
    """`request` is one serialized `PlaceOrderRequest`."""
    framed = directory / "framed-order"
    framed.write_bytes(struct.pack(">BI", 0, len(request)) + request)
    run = subprocess.run(
        [
            *(program, "--clients", str(CLIENTS), "--max-concurrent-streams", str(max(1, in_flight // CLIENTS))),
            *("--duration", str(max(1, round(seconds))), "--data", framed),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://{endpoint}/sluice.orders.v1.OrderService/PlaceOrder",
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return as_result(run.stdout)


def as_result(printed: str) -> dict[str, Any]:
    """From what it prints for people. Raises ValueError where it prints something else."""
    rate, counts = _RATE.search(printed), _COUNTS.search(printed)
    if not rate or not counts:
        raise ValueError(f"h2load printed no figures:\n{printed}")
    _, succeeded, failed = (int(number) for number in counts.groups())
    elapsed_s = float(rate[1])
    return {
        "accepted": succeeded,
        "refused": {"FAILED": failed} if failed else {},
        "elapsed_s": elapsed_s,
        "orders_per_s": succeeded / elapsed_s,
        "latency_ms": {},
    }
