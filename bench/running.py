"""The measurements of one run, one after the other, so that what is compared ran side by side on one machine."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import profile, systems
from bench.load import ACCEPTED
from bench.machine import describe_machine, describe_servers
from bench.measure import cpu_by_thread, read_clock, used_between, watch_memory
from bench.orders import EXACT_SKUS, HOT_SKUS, MANY_SKUS, SOME_SKUS
from bench.systems import System
from bench.workers import Worker, worker
from gateway.outcomes import Reason

FORMAT = 2

BATCH = 500
STREAM_IN_FLIGHT = 8
PEERS = ("lwt_per_order", "counter_per_order")

EXPECTED_REFUSALS = frozenset({Reason.OVERLOADED.value})
"""There are units for everybody and every id is new: any other refusal is a fault."""

JOURNAL_LOOPS = {"postgresql": (2, 3), "sqlite": (2,)}
"""The gateway commits over three connections (two in flight on SQLite); the faster of these is the reference."""

SOAK_BURST_MESSAGES = 20
SOAK_BURST_INTERVAL_S = 4.0
SOAK_IN_FLIGHT = 64
SOAK_RSS_INTERVAL_S = 1.0
SOAK_SKUS = HOT_SKUS + SOME_SKUS[:15]

REFERENCE_IN_FLIGHT = 128
"""Concurrency at which the unary profile and the CPU table are taken."""

RELAYS = ("relay-0",)
"""How fast orders are accepted and how fast their events drain are two figures; they share the cores in a third."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How long and how often. `seconds` for unary runs, `messages` of BATCH orders for stream runs."""

    repetitions: int
    concurrencies: tuple[int, ...]
    warm_s: float
    seconds: float
    warm_messages: int
    messages: int
    soak_minutes: float

    @property
    def unary_reference(self) -> int:
        """The concurrency at which CPU and profile are taken."""
        return REFERENCE_IN_FLIGHT if REFERENCE_IN_FLIGHT in self.concurrencies else self.concurrencies[0]


FULL = Plan(
    repetitions=3,
    concurrencies=(64, 128),
    warm_s=1.5,
    seconds=4.0,
    warm_messages=40,
    messages=240,
    soak_minutes=5.0,
)

QUICK = Plan(
    repetitions=1,
    concurrencies=(64,),
    warm_s=0.5,
    seconds=1.0,
    warm_messages=8,
    messages=40,
    soak_minutes=0.05,
)


def run(plan: Plan, directory: Path, document: dict[str, Any], say: Say) -> None:
    """Fills `document` as it goes. `directory` is for data and logs; nothing is left running.

    Raises whatever keeps a part from starting, WorkerFailed, and TimeoutError if the relay does not catch up.
    """
    document |= {
        "format": FORMAT,
        "plan": asdict(plan) | {"unary_reference": plan.unary_reference},
        "machine": describe_machine(directory),
    }
    document |= {"runs": [], "profiles": [], "audits": {}}
    with (
        systems.noop(directory) as noop,
        systems.embedded(directory) as embedded,
        systems.whole_cluster(directory, say) as (cluster, ends),
    ):
        document["servers"] = describe_servers(directory / "cluster", ends.postgres)
        for system in (embedded, cluster):
            say(f"{system.name}: creating {len(MANY_SKUS) + 2} SKUs")
            systems.create_skus(system.endpoint, HOT_SKUS + MANY_SKUS)
            systems.create_skus(system.endpoint, EXACT_SKUS, "STOCK_POLICY_EXACT")
        targets = {
            "postgresql": systems.make_bench_database(ends.postgres),
            "sqlite": str(directory / "bench-journal.db"),
        }
        bench = Bench(plan, document["runs"], cluster.pids["postgres"], targets, say)
        for repetition in range(plan.repetitions):
            for in_flight in plan.concurrencies:
                for system in (noop, embedded, cluster):
                    bench.unary(system, "hot", HOT_SKUS, in_flight, repetition)
                bench.unary(cluster, "exact", EXACT_SKUS, in_flight, repetition)
                for name in PEERS:
                    with systems.peer(name, directory, ends, cluster.pids["cassandra-1"]) as peer:
                        bench.unary(peer, "hot", HOT_SKUS, in_flight, repetition)
            for loops in JOURNAL_LOOPS["postgresql"]:
                bench.journal("postgresql", loops, repetition)
            bench.stream(cluster, "accept", HOT_SKUS, repetition, standing_still=RELAYS)
            bench.stream(cluster, "hot", HOT_SKUS, repetition)
            bench.stream(cluster, "exact", EXACT_SKUS, repetition)
            bench.stream(cluster, "some", SOME_SKUS, repetition)
            bench.stream(cluster, "many", MANY_SKUS, repetition)
            for loops in JOURNAL_LOOPS["sqlite"]:
                bench.journal("sqlite", loops, repetition)
            bench.stream(embedded, "hot", HOT_SKUS, repetition)
            bench.stream(embedded, "some", SOME_SKUS, repetition)
        document["profiles"] = _profiles(plan, embedded, cluster, directory, say)
        if plan.soak_minutes:
            document["soak"] = _soak(plan, cluster, say)
        for system in (embedded, cluster):
            say(f"{system.name}: audit")
            document["audits"][system.name] = _audit(system)


class Bench:
    """Runs one load after the other and notes for each what was answered and what it cost."""

    def __init__(
        self, plan: Plan, runs: list[dict[str, Any]], postgres_pid: int, targets: Mapping[str, str], say: Say
    ) -> None:
        self._plan = plan
        self._runs = runs
        self._postgres_pid = postgres_pid
        self._targets = targets
        self._say = say

    def unary(self, system: System, load_name: str, skus: Sequence[str], in_flight: int, repetition: int) -> None:
        systems.wait_until_quiet(system)
        with worker("bench.load", unary_settings(self._plan, system, skus, in_flight)) as load:
            result = measured(load, system)
        note = {"in_flight": in_flight, "load": load_name}
        self._note("unary", system.name, f"{load_name}, {in_flight} in flight", repetition, result | note)

    def stream(
        self,
        system: System,
        load_name: str,
        skus: Sequence[str],
        repetition: int,
        standing_still: Sequence[str] = (),
    ) -> None:
        systems.wait_until_quiet(system)
        with worker("bench.load", stream_settings(self._plan, system, skus, self._plan.messages)) as load:
            result = measured(load, system, standing_still)
        self._note("stream", system.name, load_name, repetition, result | {"load": load_name})

    def journal(self, kind: str, loops: int, repetition: int) -> None:
        settings = {
            "target": self._targets[kind],
            "skus": HOT_SKUS,
            "batch": BATCH,
            "loops": loops,
            "warm_batches": self._plan.warm_messages,
            "batches": self._plan.messages,
        }
        pids = {"postgres": self._postgres_pid} if kind == "postgresql" else {}
        with worker("bench.journal_loop", settings) as loop:
            result = measured(loop, systems.nothing_but(kind, pids))
        self._note("journal", kind, f"{loops} loops", repetition, result | {"loops": loops})

    def _note(self, kind: str, system: str, label: str, repetition: int, result: dict[str, Any]) -> None:
        self._runs.append({"kind": kind, "system": system, "repetition": repetition, **result})
        refused = f", refused {result['refused']}" if result["refused"] else ""
        self._say(
            f"{repetition + 1}/{self._plan.repetitions} {kind:8}{system:11}{label:14}"
            f"{result['orders_per_s']:>10,.0f} orders/s{refused}"
        )


def unary_settings(plan: Plan, system: System, skus: Sequence[str], in_flight: int) -> dict[str, Any]:
    return {
        "kind": "unary",
        "endpoint": system.endpoint,
        "skus": list(skus),
        "in_flight": in_flight,
        "warm_s": plan.warm_s,
        "seconds": plan.seconds,
    }


def stream_settings(plan: Plan, system: System, skus: Sequence[str], messages: int) -> dict[str, Any]:
    """The first units of a SKU are taken while orders of the warm-up wait: of many SKUs, a message at a time."""
    return {
        "kind": "stream",
        "endpoint": system.endpoint,
        "skus": list(skus),
        "batch": BATCH,
        "in_flight": STREAM_IN_FLIGHT,
        "warm_messages": min(plan.warm_messages, messages // 4),
        "warm_in_flight": STREAM_IN_FLIGHT if len(skus) == 1 else 1,
        "messages": messages,
    }


def measured(load: Worker, system: System, standing_still: Sequence[str] = ()) -> dict[str, Any]:
    """One run of a worker with what it cost: CPU by process until all its events are published, memory at most, and
    conditional writes to the ledger.

    It begins when nothing of the warm-up is left to be published. Processes of `standing_still` are stopped meanwhile.
    """
    pids, python, drain = system.pids, system.python, system.drain
    load.wait_until_warm()
    drain()
    writes_before = systems.conditional_writes(system)
    watched = {name: pids[name] for name in python} | {"client": load.pid}
    clocked = dict(pids) | {"client": load.pid}
    threads_before = {name: cpu_by_thread(pids[name]) for name in python}
    with watch_memory(watched) as memory:
        before = read_clock(clocked)
        with _stopped([pids[name] for name in standing_still]):
            load.begin()
            result: dict[str, Any] = load.result()
        answered = read_clock(clocked)
        drain()
        drained = read_clock(clocked)
    return result | {
        "cpu_s": used_between(before, drained),
        "cpu_until_answered_s": used_between(before, answered),
        "threads_s": {name: _less(cpu_by_thread(pids[name]), threads_before[name]) for name in python},
        "conditional_writes": systems.conditional_writes(system) - writes_before,
        "drain_s": drained.wall_s - answered.wall_s,
        "highest_rss_mib": memory.highest_mib(),
    }


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def unexpected(document: Mapping[str, Any]) -> list[str]:
    """Everything that should not have happened, as sentences; nothing if the run is sound."""
    wrong = []
    counted = [*document["runs"], *document["soak"]["results"]] if "soak" in document else document["runs"]
    for entry in counted:
        refusals = set(entry["refused"]) | set(entry.get("warm_refused", {}))
        if bad := sorted(refusals - EXPECTED_REFUSALS - {ACCEPTED}):
            wrong.append(f"{entry['kind']} on {entry['system']}: unexpected answers {', '.join(bad)}")
    for name, audit in document["audits"].items():
        wrong += [f"audit of {name}: {finding}" for finding in audit["findings"]]
    return wrong


def _profiles(plan: Plan, embedded: System, cluster: System, directory: Path, say: Say) -> list[dict[str, Any]]:
    """Runs of their own: being sampled slows a process down, so their rates are not used."""
    loads: dict[str, Callable[[System], dict[str, Any]]] = {
        "unary": lambda system: unary_settings(plan, system, HOT_SKUS, plan.unary_reference),
        "stream": lambda system: stream_settings(plan, system, HOT_SKUS, plan.messages),
    }
    profiles = []
    for system in (embedded, cluster):
        for name, settings in loads.items():
            say(f"profile  {system.name}, {name}")
            pids = {process: system.pids[process] for process in system.python}
            with worker("bench.load", settings(system)) as load:
                load.wait_until_warm()
                system.drain()
                with _profiled(pids, directory) as samples:
                    load.begin()
                    load.result()
                    system.drain()
            if "problem" in samples:
                say(f"no profile: {samples['problem']}")
            profiles.append({"system": system.name, "load": name, **samples})
    return profiles


@contextmanager
def _profiled(pids: Mapping[str, int], directory: Path) -> Iterator[dict[str, Any]]:
    """What it yields gets `samples` by process and part, or `problem`."""
    outcome: dict[str, Any] = {}
    try:
        with profile.profiling(pids, directory) as samples:
            time.sleep(_SPY_START_S)
            yield outcome
        outcome["samples"] = samples
    except profile.CannotProfile as error:
        outcome["problem"] = str(error)


_SPY_START_S = 1.0
"""py-spy reads the symbols of every library first."""


def _soak(plan: Plan, system: System, say: Say) -> dict[str, Any]:
    """Unary calls all the time and bursts of full batches on top, with the memory of every Python process."""
    seconds = plan.soak_minutes * 60
    say(f"soak     {system.name}: {plan.soak_minutes:g} minutes")
    unary = unary_settings(plan, system, HOT_SKUS, SOAK_IN_FLIGHT) | {"seconds": seconds}
    bursts = {
        "kind": "bursts",
        "endpoint": system.endpoint,
        "skus": SOAK_SKUS,
        "batch": BATCH,
        "in_flight": STREAM_IN_FLIGHT,
        "messages": SOAK_BURST_MESSAGES,
        "interval_s": SOAK_BURST_INTERVAL_S,
        "seconds": seconds,
    }
    pids = {name: system.pids[name] for name in system.python}
    with worker("bench.load", unary) as steady, worker("bench.load", bursts) as bursting:
        for load in (steady, bursting):
            load.wait_until_warm()
        pids |= {"client": steady.pid}
        with watch_memory(pids, SOAK_RSS_INTERVAL_S) as memory:
            steady.begin()
            bursting.begin()
            results = [steady.result(), bursting.result()]
    system.drain()
    kinds = ("soak, unary", "soak, bursts")
    return {
        "minutes": plan.soak_minutes,
        "rss_mib": memory.series,
        "results": [
            {"kind": kind, "system": system.name, **result} for kind, result in zip(kinds, results, strict=True)
        ],
    }


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


def _less(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
