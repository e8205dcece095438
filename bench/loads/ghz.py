"""ghz, the load generator that most gRPC services are measured with: closed loop of single calls."""

import json
import subprocess
from pathlib import Path
from typing import Any

PROTO = Path(__file__).parents[2] / "proto"
CALL = "sluice.orders.v1.OrderService.PlaceOrder"
CONNECTIONS = 8
LIMIT_S = 120.0

_NS_PER_MS = 1_000_000


def drive(program: Path, endpoint: str, sku: str, in_flight: int, seconds: float) -> dict[str, Any]:
    """What one run of it reports, in our terms. Latencies are those of accepted orders."""
    order = {"order_id": "{{newUUID}}", "customer_id": "ghz", "lines": [{"sku": sku, "quantity": 1}]}
    run = subprocess.run(
        [
            *(program, "--insecure", "--proto", PROTO / "sluice/orders/v1/orders.proto", "-i", PROTO),
            *("--call", CALL, "-d", json.dumps(order), "-c", str(in_flight), "--connections", str(CONNECTIONS)),
            *("-z", f"{seconds:g}s", "--duration-stop", "wait", "-O", "json", endpoint),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return as_result(json.loads(run.stdout))


def as_result(report: dict[str, Any]) -> dict[str, Any]:
    """From ghz's own JSON."""
    told: dict[str, int] = report["statusCodeDistribution"]
    elapsed_s = report["total"] / 1e9
    accepted = told.pop("OK", 0)
    percentiles = {entry["percentage"]: entry["latency"] for entry in report["latencyDistribution"] or ()}
    return {
        "accepted": accepted,
        "refused": told,
        "elapsed_s": elapsed_s,
        "orders_per_s": accepted / elapsed_s,
        "latency_ms": {
            f"p{share}": percentiles[share] / _NS_PER_MS if share in percentiles else None for share in (50, 95, 99)
        },
    }
