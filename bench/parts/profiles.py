"""Where the CPU goes inside each process. Runs of their own: being sampled slows a process down."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import profile
from bench.orders import HOT_SKUS
from bench.stage import LOADS, Stage, stream_load, unary_load
from bench.systems import System
from bench.workers import worker

SPY_START_S = 1.0
"""py-spy reads the symbols of every library first."""


def run(stage: Stage) -> None:
    plan = stage.plan
    loads: dict[str, Callable[[System], dict[str, Any]]] = {
        "unary": lambda system: unary_load(plan, system, HOT_SKUS, plan.unary_reference),
        "stream": lambda system: stream_load(plan, system, HOT_SKUS, plan.messages),
    }
    for system in (stage.embedded, stage.cluster):
        for name, settings in loads.items():
            stage.say(f"profile     {system.name}, {name}")
            pids = {process: system.pids[process] for process in system.python}
            with worker(LOADS, settings(system)) as load:
                load.wait_until_warm()
                system.drain()
                with _profiled(pids, stage.directory) as samples:
                    load.begin()
                    load.result()
                    system.drain()
            if "problem" in samples:
                stage.say(f"no profile: {samples['problem']}")
            stage.document["profiles"].append({"system": system.name, "load": name, **samples})


@contextmanager
def _profiled(pids: Mapping[str, int], directory: Path) -> Iterator[dict[str, Any]]:
    """What it yields gets `samples` by process and part, or `problem`."""
    outcome: dict[str, Any] = {}
    try:
        with profile.profiling(pids, directory) as samples:
            time.sleep(SPY_START_S)
            yield outcome
        outcome["samples"] = samples
    except profile.CannotProfile as error:
        outcome["problem"] = str(error)
