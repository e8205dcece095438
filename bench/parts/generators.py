"""Other people's load generators, and how much load each generator can make at all: against the no-op server."""

from typing import Any

from bench.loads import ghz, h2load
from bench.measure import read_clock, used_between
from bench.orders import HOT_SKUS, OrderSource
from bench.parts.rates import at_rate
from bench.stage import Stage
from bench.systems import System

CEILING_RATE = 6_000.0
"""Offered to a server that does nothing: more than our generators can send in time on two cores."""


def run(stage: Stage) -> None:
    at_rate(stage, "at_rate", stage.noop, CEILING_RATE, share_of_peak=0.0, peak=0.0, repetition=0)
    for name, systems in (
        ("h2load", (stage.noop,)),
        ("ghz", (stage.noop, stage.embedded, stage.cluster)),
    ):
        if stage.programs[name].path is None:
            stage.leave_out(f"load by {name}", stage.programs[name].missing)
            continue
        for system in systems:
            before = read_clock(system.pids)
            result = _drive(stage, name, system)
            cpu_s = used_between(before, read_clock(system.pids))
            in_flight = stage.plan.unary_reference
            notes = {"in_flight": in_flight, "repetition": 0, "cpu_s": cpu_s}
            stage.note(name, system.name, f"{in_flight} in flight", result | notes)


def _drive(stage: Stage, name: str, system: System) -> dict[str, Any]:
    program = stage.programs[name].path
    assert program is not None
    seconds, in_flight = stage.plan.seconds, stage.plan.unary_reference
    if name == "ghz":
        return ghz.drive(program, system.endpoint, HOT_SKUS[0], in_flight, seconds)
    request = OrderSource(HOT_SKUS).request()
    return h2load.drive(program, system.endpoint, request, in_flight, seconds, stage.directory)
