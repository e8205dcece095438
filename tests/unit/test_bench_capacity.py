"""Costs are found again in runs that were made from them; what is foreseen of such runs is right."""

import random
from itertools import product
from typing import Any

import pytest

from bench.capacity.fitting import DRIVEN_BY, LOAD_GENERATOR, PROCESSES, drivers_of, fitted_us
from bench.capacity.foreseeing import COUNTS, foresee
from bench.capacity.least_squares import fit
from bench.capacity.plan import SHAPES, Shape
from capacity.batching import sku_writes_per_s
from capacity.load import Load
from tests.unit.capacity.made_up import SLOPES

CORES = 2
BUSY = 0.9
OTHERS_CORES = 0.3
CLIENT_US = {"order": 1.0, "message": 20.0, "call": 140.0}


def test_factors_are_found_again() -> None:
    chance = random.Random(1)
    factors = [3.0, 0.0, 250.0]
    rows = [[1.0, chance.random(), chance.random() / 100] for _ in range(30)]
    totals = [sum(a * b for a, b in zip(row, factors, strict=True)) for row in rows]
    assert fit(rows, totals) == pytest.approx(factors, abs=1e-6)


def test_no_factor_is_below_zero() -> None:
    rows = [[1.0, x] for x in (0.0, 1.0, 2.0, 3.0)]
    falling = [4.0, 3.0, 2.0, 1.0]
    assert min(fit(rows, falling)) >= 0


def test_noise_on_both_sides_is_levelled() -> None:
    rows = [[1.0, x] for x, _ in product((0.0, 1.0, 2.0, 4.0), (0, 1))]
    totals = [(10 + 5 * row[1]) * (1.1 if n % 2 else 0.9) for n, row in enumerate(rows)]
    assert fit(rows, totals) == pytest.approx([10, 5], rel=0.05)


def _made_up_run(shape: Shape, chance: random.Random) -> dict[str, Any]:
    """A run as the measurement notes it, if costs were SLOPES and groups an eighth of what is under way."""
    accepted = 20_000
    groups = accepted / max(1.0, shape.in_flight * (shape.batch or 1) / 8)
    run: dict[str, Any] = {
        "name": shape.name,
        "purpose": shape.purpose,
        "skus": len(shape.skus),
        "policy": shape.policy,
        "lines": shape.lines,
        "batch": shape.batch,
        "in_flight": shape.in_flight,
        "accepted": accepted,
        "conditional_writes": groups,
        "elapsed_s": 1.0,
        "drain_s": 0.0,
        "written": {
            "reservations": groups,
            "transactions": groups / 2,
            "order_bytes": 300 * accepted,
            "spend_bytes": 0,
            "order-created_bytes": 100 * accepted,
            "stock-changed_bytes": 100 * accepted,
        },
        "latency_ms": {"p50": 6.0},
    }
    for _ in range(20):
        if shape.policy == "escrow":
            rate = accepted / run["elapsed_s"]
            load = Load(rate, skus=run["skus"], hottest_share=1 / run["skus"])
            each = sku_writes_per_s(load, COUNTS, SLOPES, load.hottest_per_s, COUNTS.owners, 0.0)
            run["conditional_writes"] = run["skus"] * each * run["elapsed_s"]
        done = drivers_of(run)
        used = {
            part: getattr(SLOPES.cpu_us, part).times(done) for part in DRIVEN_BY if part not in ("client", "others")
        }
        used[LOAD_GENERATOR] = sum(cost * getattr(done, name) for name, cost in CLIENT_US.items())
        run["elapsed_s"] = accepted * sum(used.values()) * 1e-6 / (CORES - OTHERS_CORES) / BUSY
    noise = chance.uniform(0.98, 1.02)
    run["cpu_s"] = {PROCESSES.get(part, (part,))[0]: accepted * us * noise * 1e-6 for part, us in used.items()}
    run["cpu_s"] |= {"stockd-1": 0.0, "others": OTHERS_CORES * run["elapsed_s"]}
    run["orders_per_s"] = accepted / run["elapsed_s"]
    return run


def _document() -> dict[str, Any]:
    chance = random.Random(2)
    return {
        "started": "never",
        "command": "made up",
        "machine": {"cores": CORES, "synced_write_ms": 0.2},
        "servers": {"postgresql": {"max_connections": 200}},
        "runs": [_made_up_run(shape, chance) for shape in SHAPES],
        "ledger": [{"skus": s, "writers": w, "writes": 100, "elapsed_s": 1.0} for s, w in ((1, 1), (1, 4), (64, 1))],
        "partitions": [{"partitions": 1, "publishers": 1, "events": 100, "elapsed_s": 1.0}],
        "journal": [{"orders_per_s": 150_000.0}],
        "consumer": {"events": 100, "elapsed_s": 1.0, "cpu_s": 0.5},
        "bytes": {"ledger_bytes": 1_000, "skus": 10},
    }


def test_costs_of_parts_are_found_again() -> None:
    fitted = fitted_us([run for run in _document()["runs"] if run["purpose"] == "fit"])
    assert fitted["relay"]["order"] == pytest.approx(SLOPES.cpu_us.relay.order, rel=0.1)
    assert fitted["gateway"]["call"] == pytest.approx(SLOPES.cpu_us.gateway.call, rel=0.1)
    assert fitted["postgres"]["order"] == pytest.approx(SLOPES.cpu_us.postgres.order, rel=0.1)


def test_runs_made_from_costs_are_foreseen() -> None:
    for check in foresee(_document()):
        assert abs(check["us_error"]) < 0.1, check
        assert abs(check["error"]) < 0.1, check
