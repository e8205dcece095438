"""The measurements of one run, one after the other, so that what is compared ran side by side on one machine."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench import systems
from bench.loads.frames import CANCELLED
from bench.loads.tally import ACCEPTED
from bench.machine import describe_machine, describe_servers
from bench.orders import COUNTER_SKUS, EXACT_SKUS, HOT_SKUS, MANY_SKUS
from bench.parts import (
    bursts,
    calls,
    clients,
    draining,
    flood,
    generators,
    peers,
    profiles,
    rates,
    scale,
    soak,
    streams,
    tigerbeetle,
)
from bench.peers.known import PEERS
from bench.plan import Plan
from bench.settings import PROGRAMS, Program, find
from bench.stage import Say, Stage
from bench.stocking import create_skus, make_bench_database, write_skus
from bench.systems import System
from deploy.local import packages
from gateway.outcomes import Reason

FORMAT = 3

EXPECTED_REFUSALS: Mapping[str, frozenset[str]] = {
    "burst": frozenset({Reason.OUT_OF_STOCK.value}),
    "at_rate": frozenset({CANCELLED}),
    "flood": frozenset({CANCELLED}),
    "ghz": frozenset({"Unavailable"}),
}
"""By kind of run, besides OVERLOADED. Elsewhere there are units for everybody and every id is new."""

FIRST: Mapping[str, Callable[[Stage], None]] = {"draining": draining.run}
REPEATED: Mapping[str, Callable[[Stage, int], None]] = {
    "calls": calls.run,
    "rates": rates.run,
    "bursts": bursts.run,
    "peers": peers.run,
    "streams": streams.run,
    "tigerbeetle": tigerbeetle.run,
}
LAST: Mapping[str, Callable[[Stage], None]] = {
    "clients": clients.run,
    "scale": scale.run,
    "generators": generators.run,
    "profiles": profiles.run,
    "soak": soak.run,
    "flood": flood.run,
}
PARTS = (*FIRST, *REPEATED, *LAST)


def run(plan: Plan, parts: Sequence[str], directory: Path, document: dict[str, Any], say: Say) -> None:
    """Fills `document` as it goes. `directory` is for data and logs; nothing is left running.

    Raises whatever keeps a part from starting, WorkerFailed, and TimeoutError if the relay does not catch up.
    """
    began = time.monotonic()
    document |= {
        "format": FORMAT,
        "plan": asdict(plan) | {"unary_reference": plan.unary_reference},
        "parts": list(parts),
        "machine": describe_machine(directory),
        "peers": {name: known._asdict() for name, known in PEERS.items()},
        "seconds": {},
    }
    document |= {"runs": [], "profiles": [], "audits": {}, "left_out": []}
    with _staged(plan, directory, document, say) as stage:
        document["seconds"]["start"] = time.monotonic() - began
        for name, work in _in_order(plan, parts, stage):
            started = time.monotonic()
            work()
            document["seconds"][name] = document["seconds"].get(name, 0.0) + time.monotonic() - started
    document["seconds"]["all"] = time.monotonic() - began


def _in_order(plan: Plan, parts: Sequence[str], stage: Stage) -> Iterator[tuple[str, Callable[[], None]]]:
    """Parts that are compared with each other repeat side by side."""
    for name, part in FIRST.items():
        if name in parts:
            yield name, partial(part, stage)
    for repetition in range(plan.repetitions):
        for name, repeated in REPEATED.items():
            if name in parts:
                stage.say(f"-- {name}, {repetition + 1} of {plan.repetitions}")
                yield name, partial(repeated, stage, repetition)
    for name, part in LAST.items():
        if name in parts:
            stage.say(f"-- {name}")
            yield name, partial(part, stage)
    yield "audit", partial(_audit_all, stage)


@contextmanager
def _staged(plan: Plan, directory: Path, document: dict[str, Any], say: Say) -> Iterator[Stage]:
    with (
        systems.noop(directory) as noop,
        systems.embedded(directory) as embedded,
        systems.whole_cluster(directory, say) as (cluster, ends),
    ):
        document["servers"] = describe_servers(directory / "cluster", ends.postgres)
        targets = {
            "postgresql": make_bench_database(ends.postgres),
            "sqlite": str(directory / "bench-journal.db"),
        }
        say(f"creating {plan.skus_at_most + 3:,} SKUs on each system")
        many = MANY_SKUS[: plan.skus_at_most]
        create_skus(embedded.endpoint, many)
        write_skus(ends.cassandra, many)
        for system in (embedded, cluster):
            create_skus(system.endpoint, HOT_SKUS)
            create_skus(system.endpoint, EXACT_SKUS, "EXACT")
            create_skus(system.endpoint, COUNTER_SKUS, "COUNTER")
        yield Stage(plan, directory, say, document, noop, embedded, cluster, ends, targets, _programs(say))


def _programs(say: Say) -> dict[str, Program]:
    """Redis is brought like the other servers, where that can be done: a goal is stated against it."""
    if find("redis").path is None:
        with suppress(packages.MissingError):
            packages.require_redis(say)
    return {name: find(name) for name in PROGRAMS}


def unexpected(document: Mapping[str, Any]) -> list[str]:
    """Everything that should not have happened, as sentences; nothing if the run is sound."""
    wrong = []
    counted = [*document["runs"], *document["soak"]["results"]] if "soak" in document else document["runs"]
    for entry in counted:
        refusals = set(entry["refused"]) | set(entry.get("warm_refused", {}))
        expected = {Reason.OVERLOADED.value, ACCEPTED} | EXPECTED_REFUSALS.get(entry["kind"], frozenset())
        if bad := sorted(refusals - expected):
            wrong.append(f"{entry['kind']} on {entry['system']}: unexpected answers {', '.join(bad)}")
    for name, audit in document["audits"].items():
        wrong += [f"audit of {name}: {finding}" for finding in audit["findings"]]
    return wrong


def _audit_all(stage: Stage) -> None:
    """Side by side: nothing is measured any more."""
    audited = (stage.embedded, stage.cluster)
    stage.say(f"audit of {' and '.join(system.name for system in audited)}")
    with ThreadPoolExecutor(len(audited)) as threads:
        for system, found in zip(audited, threads.map(_audit, audited), strict=True):
            stage.document["audits"][system.name] = found


def _audit(system: System) -> dict[str, Any]:
    started = time.monotonic()
    report = system.audit()
    return {
        "findings": [f"{finding.invariant}: {finding.subject}: {finding.message}" for finding in report.findings],
        "orders": report.orders,
        "skus": report.skus,
        "events": report.events,
        "seconds": time.monotonic() - started,
    }
