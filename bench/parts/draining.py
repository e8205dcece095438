"""How fast events drain, by relay and a consumer: after the orders, with the cores to themselves, and beside them.

First of all parts: a consumer that joins later would begin with the events of everything before it. So Kafka has just
started, and its compilers take several times what it needs by itself: what is counted begins after `Plan.warm_drains`.
"""

import time
from collections.abc import Sequence
from typing import Any

from bench.fleets import consumer
from bench.measure import read_clock
from bench.measuring import stopped
from bench.orders import HOT_SKUS
from bench.settling import metric_total
from bench.stage import LOADS, Stage, stream_load
from bench.workers import worker

CONSUMER = "compensation"
"""The one that a local cluster runs unasked. Others: `python -m bench.events`."""

HANDLED = "sluice_consumer_events_handled_total"
POLL_S = 0.05
LIMIT_S = 300.0


RELAYS = ("relay-0",)


def run(stage: Stage) -> None:
    with consumer(CONSUMER, stage.directory, stage.ends, stage.cluster.stockds) as (pid, page):
        standing_still = [pid, *(stage.cluster.pids[name] for name in RELAYS)]
        for _ in range(stage.plan.warm_drains):
            _run(stage, pid, page, ())
        for repetition in range(stage.plan.repetitions):
            for name, standing in (("behind", standing_still), ("beside", ())):
                result = _run(stage, pid, page, standing)
                notes = {"repetition": repetition, "load": name}
                stage.note("drain", stage.cluster.name, f"{name} the orders", result | notes)


def _run(stage: Stage, pid: int, page: str, standing_still: Sequence[int]) -> dict[str, Any]:
    settings = stream_load(stage.plan, stage.cluster, HOT_SKUS, stage.plan.drain_messages)
    warm_orders = settings["warm_messages"] * settings["batch"]
    handled_at_start = metric_total([page], HANDLED)
    pids = dict(stage.cluster.pids) | {"consumer": pid}
    with worker(LOADS, settings) as load:
        load.wait_until_warm()
        stage.cluster.drain()
        # One stock-changed for each order.
        before = _wait_for(page, handled_at_start + warm_orders)
        clock = read_clock(pids)
        with stopped(standing_still):
            load.begin()
            result: dict[str, Any] = load.result()
        handled_meanwhile = metric_total([page], HANDLED) - before
        answered_s = read_clock(pids).wall_s - clock.wall_s
        _wait_for(page, before + result["accepted"])
        ended = read_clock(pids)
    drained_s = ended.wall_s - clock.wall_s
    return result | {
        "handled_meanwhile": handled_meanwhile,
        "answered_s": answered_s,
        "drained_s": drained_s,
        "cpu_s": {name: ended.processes[name] - clock.processes[name] for name in pids},
    }


def _wait_for(page: str, handled: float) -> float:
    """Raises TimeoutError."""
    deadline = time.monotonic() + LIMIT_S
    while (now := metric_total([page], HANDLED)) < handled:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the consumer has handled {now:,.0f} of {handled:,.0f} events in {LIMIT_S:g} s")
        time.sleep(POLL_S)
    return now
