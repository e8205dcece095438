"""From bench/results/events.json to docs/performance-events.md, and from nothing else.

`python -m bench.events.report` writes the page again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Document = Mapping[str, Any]

RESULTS = Path(__file__).parent.parent / "results"
FIGURES = RESULTS / "events.json"
DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = DOCS / "performance-events.md"
PLOT = DOCS / "performance-events.png"

BATCH_GOAL = 10.0
LANES_GOAL = 10.0
RELAY_GOAL_PER_S = 150_000.0
PROJECTION_GOAL_PER_S = 100_000.0
OVER_ACCEPTANCE = 1.2
MEMORY_GOAL_MB = 200.0
GROWTH_GOAL_S = 3.0

EVENTS_PER_ORDER = 2
"""Of one line: `order-created` and one `stock-changed`."""

QUIET_LOAD = 0.5
"""Load average above which the page warns that something else was running."""

MB_PER_MIB = 1.048576

ONE_AT_A_TIME = "one at a time"
PARTS = {
    "partitions": "one partition and ten",
    "batching": "batches and compression",
    "lanes": "lanes",
    "rebalance": "members that come and go",
    "replication": "copies",
    "flood": "relay and consumers",
    "moving": "slots that move",
}


class Goal(NamedTuple):
    """One promise, what came out, and whether it holds. `measured` is text, ready for the table."""

    promise: str
    measured: str
    holds: bool


def render(document: Document) -> str:
    """The whole page, as Markdown. Parts that were not measured are named as missing."""
    sections = [
        "# Performance of events",
        _introduction(document),
        "## Goals",
        _table(
            ("goal", "measured", "holds"),
            [(goal.promise, goal.measured, "yes" if goal.holds else "**no**") for goal in goals(document)],
        ),
        "![What each remedy gives](performance-events.png)",
    ]
    for part, write in _SECTIONS.items():
        if part in document:
            sections.append(write(document[part]["figures"]))
    sections += ["## The machine", _machines(document)]
    return "\n\n".join(sections) + "\n"


def goals(document: Document) -> list[Goal]:
    """The promises about events, by what these runs say of them."""
    found: list[Goal] = []
    figures = {part: document[part]["figures"] for part in document}
    if "batching" in figures:
        ratio = batch_gain(figures["batching"])
        promise = f"batches with compression: at least {BATCH_GOAL:g} times one message at a time"
        found.append(Goal(promise, f"{ratio:,.0f} times", ratio >= BATCH_GOAL))
    if "lanes" in figures:
        ratio = lanes_gain(figures["lanes"])
        promise = f"lanes with a slow sink, a call for each event: at least {LANES_GOAL:g} times one at a time"
        found.append(Goal(promise, f"{ratio:,.0f} times, the order of every key checked", ratio >= LANES_GOAL))
    if "flood" in figures:
        found += _flood_goals(figures["flood"])
    if "moving" in figures:
        longest = figures["moving"]["growth"]["longest_delay_growing_s"]
        promise = f"growth under load delays no event by more than {GROWTH_GOAL_S:g} s"
        found.append(Goal(promise, f"{longest:.2f} s at most", longest <= GROWTH_GOAL_S))
    return found


def batch_gain(figures: Mapping[str, Any]) -> float:
    fastest = max(run["messages_per_s"] for name, run in figures["batched"].items() if name != "none")
    return float(fastest / figures["one_at_a_time"]["messages_per_s"])


def lanes_gain(figures: Mapping[str, Any]) -> float:
    """With as many calls of the sink: the widest of those that make one for each event."""
    runs = figures["runs"]
    single = [
        run["events_per_s"] for name, run in runs.items() if name != ONE_AT_A_TIME and run["events_per_call"] == 1
    ]
    return float(max(single) / runs[ONE_AT_A_TIME]["events_per_s"])


def highest_mb(consumer: Mapping[str, Any]) -> float:
    return float(max(mib for _, mib in consumer["rss_mib"]) * MB_PER_MIB)


def _flood_goals(flood: Mapping[str, Any]) -> list[Goal]:
    orders_per_s = flood["accepted"]["orders_per_s"]
    found = []
    for name, rate, goal_per_s, arising_per_s in (
        ("relay", flood["relayed"]["events_per_s"], RELAY_GOAL_PER_S, EVENTS_PER_ORDER * orders_per_s),
        ("projection", flood["consumers"]["projection"]["later_events_per_s"], PROJECTION_GOAL_PER_S, orders_per_s),
    ):
        promise = (
            f"{name}, one process: at least {goal_per_s:,.0f} events/s, or {OVER_ACCEPTANCE:g} times as many as arise"
            " where the gateway accepts as fast as it can"
        )
        measured = (
            f"{rate:,.0f} events/s, {rate / arising_per_s:.2f} times the {arising_per_s:,.0f} events/s that arose"
        )
        found.append(Goal(promise, measured, rate >= min(goal_per_s, OVER_ACCEPTANCE * arising_per_s)))
    highest = {name: highest_mb(consumer) for name, consumer in flood["consumers"].items()}
    promise = f"each consumer stays below {MEMORY_GOAL_MB:g} MB with a backlog of {flood['orders']:,} records"
    measured = ", ".join(f"{name} {mb:,.0f} MB" for name, mb in highest.items())
    found.append(Goal(promise, measured, max(highest.values()) <= MEMORY_GOAL_MB))
    return found


def _introduction(document: Document) -> str:
    text = (
        "What is said of ordered events on Kafka, measured on real servers by `make bench-events`, each with what"
        " Sluice does about it. This page is made from `bench/results/events.json` and from nothing else."
        " Ratios compare things that ran one after the other in the same run; absolute rates are this machine's, on"
        " which load generator, broker and whoever reads share the cores."
    )
    busy = [
        f"{PARTS[part]} {entry['machine']['load_average_before']:.1f}"
        for part, entry in document.items()
        if entry["machine"]["load_average_before"] > QUIET_LOAD
    ]
    if busy:
        text += f"\n\n**The machine was not quiet. Load average before the parts began: {', '.join(busy)}.**"
    if missing := [label for part, label in PARTS.items() if part not in document]:
        text += f"\n\n**Not measured: {', '.join(missing)}.**"
    return text


def _partitions(figures: Mapping[str, Any]) -> str:
    rows = []
    for count, run in figures["one_at_a_time"].items():
        rows.append(
            (
                count,
                "each message waits for its acknowledgement",
                f"{run['messages_per_s']:,.0f}",
                "1",
                _micros(run["client_us_per_message"]),
                _micros(run["broker_us_per_message"]),
                "",
                f"{run['latency_ms']['p50']:.1f}",
                f"{run['latency_ms']['p95']:.1f}",
            )
        )
    for name, by_count in figures["flood"].items():
        for count, run in by_count.items():
            steady = figures["steady"][name][count]
            rows.append(
                (
                    count,
                    name,
                    f"{run['messages_per_s']:,.0f}",
                    f"{run['messages_per_request']:,.0f}",
                    _micros(run["client_us_per_message"]),
                    _micros(run["broker_us_per_message"]),
                    _micros(steady["broker_us_per_message"]),
                    f"{steady['latency_ms']['p50']:.1f}",
                    f"{steady['latency_ms']['p95']:.1f}",
                )
            )
    steady_rate = next(iter(next(iter(figures["steady"].values())).values()))["rate_per_s"]
    head = (
        *("partitions", "producer", "messages/s at full speed", "messages per request"),
        *("client CPU µs a message", "broker CPU µs a message", f"broker CPU µs a message at {steady_rate:,}/s"),
        *("p50 ms", "p95 ms"),
    )
    text = (
        "It is said that ten partitions instead of one make events later (36 to 55 ms on average, 141 to 348 ms at"
        " p95, for 1,000 requests one at a time). Where the loss comes from: the same messages at the same rate are"
        " spread over more batches, so fewer share a request, and a request costs the broker the same however little is"
        " in it. A producer that waits a little longer makes up for it in the broker's CPU, at the price of its own"
        f" wait; what is gained by more partitions, parallel work, Sluice gets from lanes instead. Latencies: of each"
        f" call where one waits for it, else from the moment at which a message was due until a reader had it, at"
        f" {steady_rate:,} messages/s whatever the answers."
    )
    return f"## One partition and ten\n\n{text}\n\n{_table(head, rows)}"


def _batching(figures: Mapping[str, Any]) -> str:
    lone = figures["one_at_a_time"]
    runs = [("one message at a time", lone)]
    runs += [(f"batches, compression {name}", run) for name, run in figures["batched"].items()]
    rows = [
        (
            name,
            f"{run['messages_per_s']:,.0f}",
            f"{run['messages_per_s'] / lone['messages_per_s']:,.0f}",
            f"{run['messages_per_request']:,.0f}",
            f"{run['bytes_per_message']:,.0f}" if "bytes_per_message" in run else "",
            _micros(run["client_us_per_message"]),
            _micros(run["broker_us_per_message"]),
        )
        for name, run in runs
    ]
    lingers = [
        (
            linger_ms,
            f"{run['messages_per_s']:,.0f}",
            f"{run['messages_per_request']:,.0f}",
            f"{run['bytes_per_message']:,.0f}",
            _micros(run["broker_us_per_message"]),
        )
        for linger_ms, run in figures["lingers"].items()
    ]
    text = (
        f"It is said that batches and compression give five to ten times. `order-created` events as the relay writes"
        f" them, on {figures['partitions']} partitions, acknowledged by all copies. What batches save is the request,"
        " for client and broker; what compression saves is bytes, because headers repeat."
    )
    head = ("what", "messages/s", "times", "messages per request", "bytes a message", "client CPU µs", "broker CPU µs")
    more = ("linger ms", "messages/s", "messages per request", "bytes a message", "broker CPU µs a message")
    return (
        f"## Batches and compression\n\n{text}\n\n{_table(head, rows)}\n\nHow long a batch waits, at full speed, lz4:"
        f"\n\n{_table(more, lingers)}"
    )


def _lanes(figures: Mapping[str, Any]) -> str:
    base = figures["runs"][ONE_AT_A_TIME]["events_per_s"]
    rows = [
        (name, f"{run['events_per_s']:,.0f}", f"{run['events_per_s'] / base:,.0f}", f"{run['events_per_call']:,.1f}")
        for name, run in figures["runs"].items()
    ]
    text = (
        f"It is said that parallel consumers give five to ten times. The sink takes {figures['sink_ms']:g} ms a call,"
        f" {figures['keys']:,} keys on {figures['partitions']} partitions, one process. Lanes run side by side and keep"
        " each key in one of them; that no event came before its predecessor was checked on every event."
    )
    return f"## Lanes\n\n{text}\n\n{_table(('what', 'events/s', 'times', 'events per call'), rows)}"


def _rebalance(figures: Mapping[str, Any]) -> str:
    rows = [
        (
            name,
            f"{run['longest_delay_joining_ms']:,.0f}",
            f"{run['longest_delay_leaving_ms']:,.0f}",
            f"{run['late_partitions']} of {figures['partitions']}",
            f"{run['late_events']:,} of {run['events']:,}",
        )
        for name, run in figures["memberships"].items()
    ]
    late = f"later than {figures['late_ms']:g} ms"
    text = (
        "It is said that a rebalance stops consumption. A second member joins a group of one and leaves it again, at"
        f" {figures['rate_per_s']:,} events/s on {figures['partitions']} partitions. The plain client's default takes"
        " every partition away from every member and gives all out anew; the runtime gives up only what moves, when it"
        " has finished and committed it. A partition that moves is late until its new owner hears of it, which is at"
        " that member's next heartbeat: so how late depends on the moment, under either protocol."
    )
    head = ("member", "longest delay at a join, ms", "at a leave, ms", f"partitions {late}", f"events {late}")
    return f"## Members that come and go\n\n{text}\n\n{_table(head, rows)}"


def _replication(figures: Mapping[str, Any]) -> str:
    rows = []
    for copies, by_partitions in figures.items():
        for partitions, run in by_partitions.items():
            alone = figures["1"][partitions]["flood"]["messages_per_s"]
            rows.append(
                (
                    copies,
                    partitions,
                    f"{run['flood']['messages_per_s']:,.0f}",
                    f"{run['flood']['messages_per_s'] / alone:.2f}",
                    f"{run['flood']['messages_per_request']:,.0f}",
                    _micros(run["flood"]["broker_us_per_message"]),
                    f"{run['one_at_a_time']['latency_ms']['p50']:.1f}",
                    f"{run['one_at_a_time']['latency_ms']['p95']:.1f}",
                )
            )
    text = (
        "Three brokers with three copies of each partition, two of which must be written (`acks=all`,"
        " `min.insync.replicas=2`), against one broker; the relay's settings. All brokers share this machine, so three"
        " copies cost three times the work here, where three machines would share it; what grows with the number of"
        " partitions is the same anywhere. Kafka does not force writes to the disk; a copy is on another process here."
    )
    head = (
        *("copies", "partitions", "messages/s", "of one copy", "messages per request"),
        *("brokers' CPU µs a message", "one at a time p50 ms", "p95 ms"),
    )
    return f"## Copies\n\n{text}\n\n{_table(head, rows)}"


def _flood(figures: Mapping[str, Any]) -> str:
    accepted, relayed = figures["accepted"], figures["relayed"]
    rows = [
        (
            "gateway, relay standing still",
            f"{EVENTS_PER_ORDER * accepted['orders_per_s']:,.0f} ({accepted['orders_per_s']:,.0f} orders/s)",
            "",
            f"{accepted['accepted']:,}",
            "",
            "",
        ),
        (
            "relay",
            f"{relayed['events_per_s']:,.0f}",
            "",
            f"{relayed['events']:,}",
            _cpu(relayed["cpu_s"], relayed["events"]),
            f"{relayed['highest_rss_mib'] * MB_PER_MIB:,.0f}",
        ),
    ]
    for name, run in figures["consumers"].items():
        rows.append(
            (
                f"{name}{'' if run['finished'] else ' (not to the end)'}",
                f"{run['events_per_s']:,.0f}",
                f"{run['later_events_per_s']:,.0f}",
                f"{run['events']:,}",
                _cpu(run["cpu_s"], run["events"]),
                f"{highest_mb(run):,.0f}",
            )
        )
    text = (
        f"{figures['orders']:,} orders of one line over {figures['skus']} SKUs are accepted while the relay is stopped;"
        " then it goes on alone; then each consumer works through what is on Kafka, alone. So each rate is that of one"
        " process that shares the cores only with the servers that it needs. CPU is that of the run divided by its"
        " events; a consumer's rate is that between the first and the last event that it says it has handled. The"
        " second half of that time counts for the goal: in the first a Cassandra that has just started compiles"
        " itself, on the cores that the consumer needs."
    )
    head = ("what", "events/s", "second half", "events", "CPU µs an event", "highest RSS, MB")
    return f"## Relay and consumers\n\n{text}\n\n{_table(head, rows)}"


def _moving(figures: Mapping[str, Any]) -> str:
    skew, growth = figures["skew"], figures["growth"]
    rows = [
        ("fullest partition, in means, before `partitions balance`", f"{skew['skew_before']:.2f}"),
        ("after it", f"{skew['skew_after']:.2f}"),
        ("the hottest SKU alone", f"{skew['hottest_sku']:.2f}"),
        (
            f"longest delay before growth to {growth['to_partitions']} partitions",
            f"{growth['longest_delay_before_s']:.2f} s",
        ),
        ("longest delay from its begin on", f"{growth['longest_delay_growing_s']:.2f} s"),
        ("the command took", f"{growth['move_s']:.1f} s"),
        ("orders accepted meanwhile", f"{growth['accepted']:,}"),
        ("orders refused meanwhile", f"{sum(growth['refused'].values()):,}"),
    ]
    text = (
        f"{figures['orders_per_s']:,} orders/s over {figures['skus']:,} SKUs, of which a few hot ones take most (Zipf)."
        " A partition cannot be emptier than its hottest SKU makes it: one SKU is one slot. Delays are from an order's"
        " commit until a consumer has its event."
    )
    return f"## Slots that move\n\n{text}\n\n{_table(('what', 'measured'), rows)}"


_SECTIONS = {
    "partitions": _partitions,
    "batching": _batching,
    "lanes": _lanes,
    "rebalance": _rebalance,
    "replication": _replication,
    "flood": _flood,
    "moving": _moving,
}


def _machines(document: Document) -> str:
    rows = [
        (
            PARTS[part],
            entry["started"],
            f"{entry['took_s']:,.0f} s",
            f"{entry['machine']['load_average_before']:.2f}",
            f"{entry['machine']['cpu']}, {entry['machine']['cores']} cores",
            f"{entry['machine']['python']}, confluent-kafka {entry['machine']['packages']['confluent-kafka']}",
        )
        for part, entry in document.items()
    ]
    return _table(("part", "started", "took", "load average before", "CPU", "software"), rows)


def _cpu(cpu_s: Mapping[str, float], events: int) -> str:
    return ", ".join(
        f"{name} {_micros(1e6 * seconds / events)}" for name, seconds in cpu_s.items() if 1e6 * seconds / events >= 0.05
    )


def _micros(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(render(json.loads(FIGURES.read_text())))
