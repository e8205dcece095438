"""Which runs of a document belong together, and what is read off them."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import spread

Document = Mapping[str, Any]
Run = Mapping[str, Any]

NOT_PROMISED = ("client", "noop", "peer", "lwt_per_order", "counter_per_order")
"""Processes of the measurement, not of Sluice."""

KAFKA_THREADS = "rdk:"
PYTHON_THREADS = ("loop", "python")

_CALLED = {
    "client": "load generator",
    "noop": "no-op server",
    "embedded": "embedded gateway",
    "consume": "consumer",
    "peer": "peer's server",
}


def select(document: Document, kind: str, system: str, **conditions: Any) -> list[Run]:
    """By repetition."""
    found = [
        run
        for run in document["runs"]
        if run["kind"] == kind
        and run["system"] == system
        and all(run.get(name) == value for name, value in conditions.items())
    ]
    return sorted(found, key=lambda run: run["repetition"])


def rates(document: Document, kind: str, system: str, **conditions: Any) -> list[float]:
    return [run["orders_per_s"] for run in select(document, kind, system, **conditions)]


def reference_in_flight(document: Document) -> int:
    return int(document["plan"]["unary_reference"])


def fastest(runs: Sequence[Run], *settings: str) -> list[Run]:
    """Of runs that differ in `settings`, those with the highest median rate; empty if there are none."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        found.setdefault(tuple(run[name] for name in settings), []).append(run)
    return max(found.values(), key=lambda group: spread([run["orders_per_s"] for run in group]).middle, default=[])


def fastest_journal(document: Document, kind: str) -> list[float]:
    """By repetition, the rate of the bare function at the number of loops that suits it best."""
    return [run["orders_per_s"] for run in fastest(select(document, "journal", kind), "loops")]


def fastest_tigerbeetle(document: Document) -> list[Run]:
    """By repetition, with the number of clients and the batch that suit it best."""
    return fastest(select(document, "tigerbeetle", "tigerbeetle"), "clients", "batch")


def refusals(runs: Sequence[Run]) -> dict[str, int]:
    told: dict[str, int] = {}
    for run in runs:
        for reason, count in run["refused"].items():
            told[reason] = told.get(reason, 0) + count
    return told


def writes_per_1000(runs: Sequence[Run]) -> list[float]:
    """Conditional writes to the ledger per 1,000 accepted orders, by repetition."""
    return [1000 * run["conditional_writes"] / max(1, run["accepted"]) for run in runs]


def own_memory(run: Run) -> dict[str, float]:
    """Highest resident memory of each of Sluice's own processes in a run, MiB."""
    return {name: mib for name, mib in run["highest_rss_mib"].items() if not name.startswith(NOT_PROMISED)}


def highest_memory(document: Document) -> dict[str, float]:
    """Highest resident memory of each of Sluice's own processes over all runs but those of a flood, MiB."""
    highest: dict[str, float] = {}
    series = [run["highest_rss_mib"] for run in document["runs"] if "highest_rss_mib" in run and run["kind"] != "flood"]
    if "soak" in document:
        series.append({name: max(mib for _, mib in each) for name, each in document["soak"]["rss_mib"].items()})
    for found in series:
        for name, mib in found.items():
            if not name.startswith(NOT_PROMISED):
                highest[name] = max(mib, highest.get(name, 0.0))
    return highest


def cpu_us_per_order(runs: Sequence[Run]) -> dict[str, float]:
    """Median over repetitions, by process; runs in which nothing was accepted say nothing."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if not run["accepted"]:
            continue
        by_role: dict[str, float] = {}
        for name, seconds in run["cpu_s"].items():
            by_role[role_of(name)] = by_role.get(role_of(name), 0.0) + 1e6 * seconds / run["accepted"]
        for role, micros in by_role.items():
            found.setdefault(role, []).append(micros)
    return {role: spread(values).middle for role, values in found.items()}


SERVING = ("gateway", "stockd", "embedded gateway")
"""Roles whose CPU an order costs us; relay and servers of others have rows of their own."""


def own_cpu_us(runs: Sequence[Run], roles: Sequence[str] = SERVING) -> list[float]:
    """µs of CPU of these for each accepted order, by repetition."""
    return [
        1e6 * sum(seconds for name, seconds in run["cpu_s"].items() if role_of(name) in roles) / run["accepted"]
        for run in runs
        if run["accepted"]
    ]


def split_by_part(samples: Mapping[str, int], runs: Sequence[Run], processes: Sequence[str]) -> dict[str, float]:
    """µs of CPU per order by part: what Python's threads used, by share of samples, and the libraries' own threads."""
    accepted = sum(run["accepted"] for run in runs)
    if not accepted:
        return {}
    python_s = 0.0
    parts: dict[str, float] = {}
    for run in runs:
        for process in processes:
            for thread, seconds in run["threads_s"][process].items():
                if thread in PYTHON_THREADS:
                    python_s += seconds
                else:
                    owner = "Kafka client" if thread.startswith(KAFKA_THREADS) else "gRPC"
                    part = f"{owner}, threads of its own"
                    parts[part] = parts.get(part, 0.0) + 1e6 * seconds / accepted
    total = sum(samples.values())
    for part, count in samples.items():
        parts[part] = 1e6 * python_s * count / total / accepted
    return parts


def parts_by_role(document: Document) -> dict[str, dict[str, float]]:
    """µs per order by part, for each process and load that was profiled: `gateway, stream` and so on."""
    columns: dict[str, dict[str, float]] = {}
    for profile in document["profiles"]:
        if "problem" in profile:
            continue
        system, load = profile["system"], profile["load"]
        condition: dict[str, Any] = {"load": "hot"}
        if load == "unary":
            condition |= {"in_flight": reference_in_flight(document)}
        runs = select(document, load, system, **condition)
        processes_by_role: dict[str, list[str]] = {}
        for process in profile["samples"]:
            processes_by_role.setdefault(role_of(process), []).append(process)
        for role, processes in processes_by_role.items():
            samples: dict[str, int] = {}
            for process in processes:
                for part, count in profile["samples"][process].items():
                    samples[part] = samples.get(part, 0) + count
            columns[f"{role}, {load}"] = split_by_part(samples, runs, processes)
    return {name: parts for name, parts in columns.items() if parts}


def role_of(process: str) -> str:
    """`stockd-1` is one of the stockd; the two are counted as one."""
    name = process.rsplit("-", maxsplit=1)[0] if process[-1].isdigit() else process
    return _CALLED.get(name, name)
