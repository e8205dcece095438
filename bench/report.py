"""From the JSON of one run to docs/performance.md, and from nothing else.

`python -m bench.report bench/results/RUN.json` prints the page again.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import Spread, ratios, slope_per_minute, spread

Document = Mapping[str, Any]
Run = Mapping[str, Any]

UNARY_GOAL = 0.5
STREAM_GOAL = 0.4
HOT_GOAL = 0.8
HOT_ESCROW_GOAL = 0.9
EXACT_GOAL = 0.5
WRITES_GOAL = 5.0
"""Conditional writes per 1,000 orders on one hot SKU, policy `escrow`."""
MEMORY_GOAL_MIB = 150.0

SETTLING_SHARE = 0.2
"""Of the memory run: caches fill at first, and only what grows after that goes on growing."""

STEADY_MIB = 5.0
"""Growth from the settled start to the end that still counts as flat: an allocator's own ups and downs."""

NOT_PROMISED = ("client", "noop", "lwt_per_order", "counter_per_order")
"""Processes of the measurement: it keeps every latency, so the load generator grows."""

KAFKA_THREADS = "rdk:"
PYTHON_THREADS = ("loop", "python")

QUIET_LOAD = 0.5
"""Load average above which the page warns that something else was running."""

TOLERATED_REFUSALS = 0.01
"""Share of refused orders up to which a rate is still one."""


class Goal(NamedTuple):
    """One promise, what came out, and whether it holds. `measured` is text, ready for the table."""

    promise: str
    measured: str
    holds: bool


FIGURES_BEGIN = "<!-- figures: begin -->\n"
FIGURES_END = "<!-- figures: end -->\n"


def with_figures(readme: str, document: Document) -> str:
    """The README with its figures replaced by those of this run."""
    head, _, rest = readme.partition(FIGURES_BEGIN)
    _, _, tail = rest.partition(FIGURES_END)
    return f"{head}{FIGURES_BEGIN}{_readme_figures(document)}{FIGURES_END}{tail}"


def _readme_figures(document: Document) -> str:
    machine = document["machine"]
    single: dict[str, Any] = {"load": "hot", "in_flight": _at(document)}
    rates = [
        (
            "embedded, single calls, 128 in flight",
            _rates(document, "unary", "embedded", **single),
        ),
        ("embedded, stream, 500 a message", _rates(document, "stream", "embedded", load="hot")),
        (
            "cluster, single calls, 128 in flight",
            _rates(document, "unary", "cluster", **single),
        ),
        ("cluster, stream, 500 a message, while the relay drains", _rates(document, "stream", "cluster", load="hot")),
    ]
    rows = [(what, _count(spread(found))) for what, found in rates]
    return (
        "Accepted and durable orders/s on one hot SKU, policy `escrow`, everything (load generator, all parts,"
        " Cassandra, Kafka, PostgreSQL)\n"
        f"on {machine['cores']} cores ({machine['cpu']}), fsync on; median, lowest and highest of"
        f" {document['plan']['repetitions']}:\n\n{_table(('what', 'orders/s'), rows)}\n\n"
        "How they were taken, what they cost, and which goals they miss: [performance](docs/performance.md).\n"
    )


def _at(document: Document) -> int:
    return int(document["plan"]["unary_reference"])


def render(document: Document) -> str:
    """The whole page, as Markdown."""
    sections = [
        "# Performance",
        _introduction(document),
        "## Goals",
        _goals_table(goals(document)),
        "## Unary: PlaceOrder",
        _unary_section(document),
        "## Stream: PlaceOrders",
        _stream_section(document),
        "## CPU per order, by process",
        _cpu_section(document),
        "## CPU per order, by part",
        _parts_section(document),
        "## Memory",
        _memory_section(document),
        "## The machine",
        _machine_section(document),
        "## How to read this",
        _remarks(document),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


_STREAM_CONDITIONS = {
    "embedded": (("hot", ""),),
    "cluster": (("accept", ", relay standing still"), ("hot", ", relay at work on the same cores")),
}


_STREAM_LOADS = {
    "embedded": (("hot", "one hot SKU"), ("some", "1,000 SKUs")),
    "cluster": (
        ("accept", "one hot SKU, relay standing still"),
        ("hot", "one hot SKU"),
        ("exact", "one hot SKU, policy `exact`"),
        ("some", "1,000 SKUs"),
        ("many", "10,000 SKUs"),
    ),
}

_UNARY_SERVERS = (
    ("noop", "hot", "no-op server"),
    ("embedded", "hot", "embedded"),
    ("cluster", "hot", "cluster"),
    ("cluster", "exact", "cluster, policy `exact`"),
    ("lwt_per_order", "hot", "peer: one conditional write per order"),
    ("counter_per_order", "hot", "peer: one read and one counter addition per order"),
)


def goals(document: Document) -> list[Goal]:
    """The promises of this stage, by what this run says of them."""
    found = []
    at = document["plan"]["unary_reference"]
    noop = _rates(document, "unary", "noop", load="hot", in_flight=at)
    for system in ("embedded", "cluster"):
        compared = ratios(_rates(document, "unary", system, load="hot", in_flight=at), noop)
        promise = f"unary PlaceOrder, {system}: at least {UNARY_GOAL} of the no-op rate"
        found.append(_ratio_goal(promise, compared, UNARY_GOAL))
    for system, journal in (("embedded", "sqlite"), ("cluster", "postgresql")):
        for load, condition in _STREAM_CONDITIONS[system]:
            stream = _rates(document, "stream", system, load=load)
            promise = f"stream, {system}{condition}: at least {STREAM_GOAL} of the bare journal function"
            found.append(_ratio_goal(promise, ratios(stream, fastest_journal(document, journal)), STREAM_GOAL))
    found += [_hot_goal(document, system, "some", "1,000", HOT_GOAL) for system in ("embedded", "cluster")]
    found.append(_hot_goal(document, "cluster", "many", "10,000", HOT_ESCROW_GOAL))
    exact = ratios(
        _rates(document, "stream", "cluster", load="exact"), _rates(document, "stream", "cluster", load="hot")
    )
    found.append(_ratio_goal(f"one hot SKU, cluster: `exact` at least {EXACT_GOAL} of `escrow`", exact, EXACT_GOAL))
    writes = spread(_writes_per_1000(_runs(document, "stream", "cluster", load="hot")))
    promise = f"one hot SKU, `escrow`: at most {WRITES_GOAL:g} conditional writes per 1,000 orders"
    found.append(
        Goal(promise, f"{writes.middle:.2f} ({writes.low:.2f} to {writes.high:.2f})", writes.high <= WRITES_GOAL)
    )
    highest = max(highest_memory(document).items(), key=lambda entry: entry[1])
    promise = f"every Python process stays below {MEMORY_GOAL_MIB:g} MB"
    found.append(Goal(promise, f"{highest[1]:.0f} MB at most ({highest[0]})", highest[1] <= MEMORY_GOAL_MIB))
    if "soak" in document:
        growth = {
            name: _growth_mib(series)
            for name, series in document["soak"]["rss_mib"].items()
            if name not in NOT_PROMISED
        }
        worst = max(growth.items(), key=lambda entry: entry[1])
        promise = f"memory is flat over {document['soak']['minutes']:g} minutes"
        found.append(Goal(promise, f"{worst[1]:+.1f} MB at most ({worst[0]})", worst[1] <= STEADY_MIB))
    return found


def fastest_journal(document: Document, kind: str) -> list[float]:
    """By repetition, the rate of the bare function at the number of loops that suits it best."""
    by_loops: dict[int, list[float]] = {}
    for run in _runs(document, "journal", kind):
        by_loops.setdefault(run["loops"], []).append(run["orders_per_s"])
    return max(by_loops.values(), key=lambda rates: spread(rates).middle)


def highest_memory(document: Document) -> dict[str, float]:
    """Highest resident memory of each of Sluice's own processes over all runs, MiB."""
    highest: dict[str, float] = {}
    series = [run["highest_rss_mib"] for run in document["runs"]]
    if "soak" in document:
        series.append({name: max(mib for _, mib in each) for name, each in document["soak"]["rss_mib"].items()})
    for found in series:
        for name, mib in found.items():
            if name not in NOT_PROMISED:
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
            by_role[_role(name)] = by_role.get(_role(name), 0.0) + 1e6 * seconds / run["accepted"]
        for role, micros in by_role.items():
            found.setdefault(role, []).append(micros)
    return {role: spread(values).middle for role, values in found.items()}


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


def _introduction(document: Document) -> str:
    text = (
        f"Measured {document['started']} by `make bench`; this page is made from that run's JSON in `bench/results/`"
        " and from nothing else. All ratios compare things that ran beside each other in the same run on the same"
        " machine; absolute rates are this machine's. Each figure is the median of"
        f" {document['plan']['repetitions']} repetitions, with the lowest and the highest in brackets. Only accepted"
        " orders are counted in a rate."
    )
    load = document["machine"]["load_average_before"]
    if load <= QUIET_LOAD:
        return text
    return f"{text}\n\n**The machine was not quiet: its load average was {load:.1f} before the run began.**"


def _goals_table(found: Sequence[Goal]) -> str:
    return _table(
        ("goal", "measured", "holds"),
        [(goal.promise, goal.measured, "yes" if goal.holds else "**no**") for goal in found],
    )


def _unary_section(document: Document) -> str:
    rows = []
    for in_flight in document["plan"]["concurrencies"]:
        noop = _rates(document, "unary", "noop", load="hot", in_flight=in_flight)
        for system, load, label in _UNARY_SERVERS:
            runs = _runs(document, "unary", system, load=load, in_flight=in_flight)
            if not runs:
                continue
            rates = [run["orders_per_s"] for run in runs]
            rows.append(
                (
                    str(in_flight),
                    label,
                    _count(spread(rates)),
                    "1" if system == "noop" else _ratio(spread(ratios(rates, noop))),
                    *_latencies(runs),
                    _refused(runs),
                )
            )
    text = (
        "Closed loop: so many callers over 8 connections from one load process, each sending its next order when the"
        " last is answered. All orders want the same SKU. The no-op server is built by the same code as the gateway"
        " (options, wrapper, event loop), reads the request and answers it. The peers are such servers too, on the same"
        " Cassandra; they reserve units and keep no order, tell nobody, and have nothing to say after a timeout."
    )
    head = ("in flight", "server", "orders/s", "ratio to no-op", "p50 ms", "p95 ms", "p99 ms", "refused")
    return f"{text}\n\n{_table(head, rows)}"


def _stream_section(document: Document) -> str:
    rows = []
    for kind, system in (("postgresql", "cluster"), ("sqlite", "embedded")):
        reference = fastest_journal(document, kind)
        loops = sorted({run["loops"] for run in _runs(document, "journal", kind)})
        for count in loops:
            runs = [run for run in _runs(document, "journal", kind) if run["loops"] == count]
            rates = [run["orders_per_s"] for run in runs]
            what = f"bare journal function on {_NAMES[kind]}, {count} loops"
            rows.append((what, _count(spread(rates)), _ratio(spread(ratios(rates, reference))), "", "", "", "", "", ""))
        for load, label in _STREAM_LOADS[system]:
            runs = _runs(document, "stream", system, load=load)
            rates = [run["orders_per_s"] for run in runs]
            drained = spread([run["accepted"] / (run["elapsed_s"] + run["drain_s"]) for run in runs])
            rows.append(
                (
                    f"{system}, {label}",
                    _count(spread(rates)),
                    _ratio(spread(ratios(rates, reference))),
                    *_latencies(runs),
                    _count(drained) if system == "cluster" else "",
                    f"{spread(_writes_per_1000(runs)).middle:.2f}" if system == "cluster" else "",
                    _refused(runs),
                )
            )
    text = (
        "One stream, 500 orders a message, 8 messages in flight, requests encoded before the clock starts, fresh"
        " time-ordered ids. The reference is the journal's `commit` called in loops with the same rows, their events"
        " encoded beforehand, in a process of its own on the same PostgreSQL server, or on an SQLite file on the same"
        " disk; ratios are to the faster number of loops. Latencies are those of whole messages. The last rate counts"
        " the time until the relay has put every event on Kafka and emptied the outbox."
    )
    head = (
        *("what", "orders/s", "ratio to the journal", "p50 ms", "p95 ms", "p99 ms"),
        *("orders/s until all events are on Kafka", "conditional writes per 1,000 orders", "refused"),
    )
    return f"{text}\n\n{_table(head, rows)}"


def _cpu_section(document: Document) -> str:
    at = document["plan"]["unary_reference"]
    columns = {
        "no-op, unary": _runs(document, "unary", "noop", in_flight=at),
        "embedded, unary": _runs(document, "unary", "embedded", load="hot", in_flight=at),
        "cluster, unary": _runs(document, "unary", "cluster", load="hot", in_flight=at),
        "cluster, unary, `exact`": _runs(document, "unary", "cluster", load="exact", in_flight=at),
        "embedded, stream": _runs(document, "stream", "embedded", load="hot"),
        "cluster, stream": _runs(document, "stream", "cluster", load="hot"),
        "cluster, stream, 1,000 SKUs": _runs(document, "stream", "cluster", load="some"),
        "bare journal": _runs(document, "journal", "postgresql"),
    }
    figures = {name: cpu_us_per_order(runs) for name, runs in columns.items()}
    rows = [
        (role, *(_micros(by_role.get(role)) for by_role in figures.values()))
        for role in _ROLES
        if any(role in by_role for by_role in figures.values())
    ]
    text = (
        f"User and system time, µs for each accepted order, until its events are on Kafka; unary at {at} in flight."
        " `others` is everything else that ran on the machine, the kernel's own work included."
    )
    return f"{text}\n\n{_table(('process', *figures), rows)}"


def _parts_section(document: Document) -> str:
    at = document["plan"]["unary_reference"]
    columns: dict[str, dict[str, float]] = {}
    problems = set()
    for profile in document["profiles"]:
        if "problem" in profile:
            problems.add(profile["problem"])
            continue
        system, load = profile["system"], profile["load"]
        condition = {"load": "hot"} | ({"in_flight": at} if load == "unary" else {})
        runs = _runs(document, load, system, **condition)
        processes_by_role: dict[str, list[str]] = {}
        for process in profile["samples"]:
            processes_by_role.setdefault(_role(process), []).append(process)
        for role, processes in processes_by_role.items():
            samples: dict[str, int] = {}
            for process in processes:
                for part, count in profile["samples"][process].items():
                    samples[part] = samples.get(part, 0) + count
            columns[f"{role}, {load}"] = split_by_part(samples, runs, processes)
    if not columns:
        return "No profile: " + "; ".join(sorted(problems))
    # By name where the weight is the same: the same figures must give the same page.
    found = sorted({part for column in columns.values() for part in column})
    parts = sorted(found, key=lambda part: _weight(part, columns))
    rows = [(part, *(_micros(column.get(part)) for column in columns.values())) for part in parts]
    rows.append(("**sum**", *(_micros(sum(column.values())) for column in columns.values())))
    text = (
        "µs of CPU for each accepted order inside each Python process. The sums are the processes' own CPU time from"
        " undisturbed runs; the shares are those of py-spy's samples (native frames included, waiting threads left"
        " out) from runs of their own. A sample belongs to the innermost frame that is ours or a named library's: a"
        " socket write for the journal counts as journal, protobuf called by gRPC as protobuf."
    )
    return f"{text}\n\n{_table(('part', *columns), rows)}"


def _memory_section(document: Document) -> str:
    highest = highest_memory(document)
    if "soak" not in document:
        return _table(("process", "highest MB, all runs"), [(name, f"{mib:.0f}") for name, mib in highest.items()])
    soak = document["soak"]
    rows = []
    for name, series in soak["rss_mib"].items():
        settled = _settled(series)
        rows.append(
            (
                name if name != "client" else "load generator",
                f"{highest[name]:.0f}" if name in highest else "",
                f"{series[0][1]:.1f}",
                f"{settled[0][1]:.1f}",
                f"{series[-1][1]:.1f}",
                f"{slope_per_minute(settled):+.2f}",
            )
        )
    rows += [(name, f"{mib:.0f}", "", "", "", "") for name, mib in highest.items() if name not in soak["rss_mib"]]
    steady, bursts = soak["results"]
    text = (
        f"{soak['minutes']:g} minutes on the cluster: unary calls all the time ({steady['orders_per_s']:,.0f}/s) and"
        " bursts of full messages at full speed on top"
        f" ({bursts['accepted']:,} orders), so that buffers fill as they do under full load. The settled start and the"
        f" slope leave out the first {SETTLING_SHARE:.0%} of the time, while caches fill. 1 MB is 2^20 bytes."
    )
    head = ("process", "highest MB, all runs", "at the start", "settled", "at the end", "slope, MB/min")
    return f"{text}\n\n{_table(head, rows)}"


def _machine_section(document: Document) -> str:
    machine = document["machine"]
    rows = [
        ("CPU", f"{machine['cpu']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("system", machine["system"]),
        ("Python", machine["python"]),
        ("packages", ", ".join(f"{name} {number}" for name, number in machine["packages"].items())),
        ("synced write of 8 KiB", f"{machine['synced_write_ms']} ms (median)"),
        ("load average before", f"{machine['load_average_before']:.2f}"),
    ]
    for server, facts in document["servers"].items():
        rows.append((_NAMES[server], ", ".join(f"{name} {value}" for name, value in facts.items())))
    return _table(("what", "value"), rows)


def _remarks(document: Document) -> str:
    cores = document["machine"]["cores"]
    at = document["plan"]["unary_reference"]
    noop = cpu_us_per_order(_runs(document, "unary", "noop", in_flight=at))
    audits = "; ".join(
        f"{name}: {len(audit['findings'])} findings in {audit['orders']:,} orders and {audit['events']:,} events"
        for name, audit in document["audits"].items()
    )
    remarks = [
        (
            f"Everything shares {cores} cores: load generator, gateway, two stock servers, relay, PostgreSQL, Kafka"
            " and Cassandra. What one of them uses the others lack. The no-op server shares them with the load"
            " generator and idle servers only, so the cluster's ratio says what one machine can do for everything"
            " together, not how much slower the gateway is than a server that does nothing: for that compare the CPU"
            " per order."
        ),
        (
            f"The load generator is Python too: it uses {_micros(noop['load generator'])} µs a call where the no-op"
            f" server uses {_micros(noop['no-op server'])} µs. It is part of both sides of a ratio, which brings"
            " ratios nearer to 1."
        ),
        (
            "A run begins when the stock servers have given back what they had taken ahead for the one before and the"
            " events of the warm-up are on Kafka; its CPU is counted until its own are. The"
            " rate in orders/s is that of the answers; the relay works meanwhile as far as it gets."
        ),
        (
            "Cassandra and Kafka use CPU when idle too (garbage collection, background tasks); the slower a run, the"
            " more of that is counted to each order."
        ),
        "The bare journal function writes to a database of its own on the same server, without relay or stock.",
        f"Audit after all runs: {audits}.",
    ]
    return "\n".join(f"- {remark}" for remark in remarks)


def _runs(document: Document, kind: str, system: str, **conditions: Any) -> list[Run]:
    """By repetition."""
    found = [
        run
        for run in document["runs"]
        if run["kind"] == kind
        and run["system"] == system
        and all(run[name] == value for name, value in conditions.items())
    ]
    return sorted(found, key=lambda run: run["repetition"])


def _rates(document: Document, kind: str, system: str, **conditions: Any) -> list[float]:
    return [run["orders_per_s"] for run in _runs(document, kind, system, **conditions)]


def _ratio_goal(promise: str, compared: Sequence[float], goal: float) -> Goal:
    found = spread(compared)
    return Goal(promise, _ratio(found), found.middle >= goal)


def _hot_goal(document: Document, system: str, load: str, skus: str, goal: float) -> Goal:
    """A rate that was refused its orders is nothing to compare with."""
    promise = f"one hot SKU, {system}: at least {goal} of {skus} SKUs"
    over = _runs(document, "stream", system, load=load)
    refused = sum(sum(run["refused"].values()) for run in over)
    sent = refused + sum(run["accepted"] for run in over)
    if refused > TOLERATED_REFUSALS * sent:
        measured = f"no comparison: {refused / sent:.0%} of the orders on {skus} SKUs were refused"
        return Goal(promise, measured, holds=False)
    compared = ratios(_rates(document, "stream", system, load="hot"), [run["orders_per_s"] for run in over])
    return _ratio_goal(promise, compared, goal)


def _writes_per_1000(runs: Sequence[Run]) -> list[float]:
    """Conditional writes to the ledger per 1,000 accepted orders, by repetition."""
    return [1000 * run["conditional_writes"] / max(1, run["accepted"]) for run in runs]


def _settled(series: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    end = series[-1][0]
    return [(time, mib) for time, mib in series if time >= SETTLING_SHARE * end]


def _growth_mib(series: Sequence[Sequence[float]]) -> float:
    settled = _settled(series)
    minutes = (settled[-1][0] - settled[0][0]) / 60
    return slope_per_minute(settled) * minutes


def _latencies(runs: Sequence[Run]) -> tuple[str, str, str]:
    p50, p95, p99 = (
        f"{spread(values).middle:.1f}" if (values := _known(run["latency_ms"][name] for run in runs)) else ""
        for name in ("p50", "p95", "p99")
    )
    return p50, p95, p99


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _refused(runs: Sequence[Run]) -> str:
    told: dict[str, int] = {}
    for run in runs:
        for reason, count in run["refused"].items():
            told[reason] = told.get(reason, 0) + count
    return ", ".join(f"{count:,} {reason}" for reason, count in told.items()) or "0"


def _count(found: Spread) -> str:
    return f"{found.middle:,.0f} ({found.low:,.0f} to {found.high:,.0f})"


def _ratio(found: Spread) -> str:
    return f"{found.middle:.2f} ({found.low:.2f} to {found.high:.2f})"


def _micros(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _weight(part: str, columns: Mapping[str, Mapping[str, float]]) -> float:
    return -max(column.get(part, 0.0) for column in columns.values())


def _role(process: str) -> str:
    """`stockd-1` is one of the stockd; the two are counted as one."""
    name = process.rsplit("-", maxsplit=1)[0] if process[-1].isdigit() else process
    return _CALLED.get(name, name)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_CALLED = {"client": "load generator", "noop": "no-op server", "embedded": "embedded gateway"}
_ROLES = (
    *("no-op server", "embedded gateway", "gateway", "stockd", "relay"),
    *("postgres", "cassandra", "kafka", "load generator", "others"),
)
_NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "cassandra": "Cassandra", "kafka": "Kafka"}


if __name__ == "__main__":
    sys.stdout.write(render(json.loads(Path(sys.argv[1]).read_text())))
