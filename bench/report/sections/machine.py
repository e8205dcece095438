"""What was measured on, with which promises of the servers, what was left out, and how to read it all."""

from collections.abc import Sequence
from typing import Any

from bench.report import wording
from bench.report.blocks import Block, Bullets, Heading, Table, Text
from bench.report.sections.orders import NAMES
from bench.report.selecting import Document, cpu_us_per_order, reference_in_flight, select

_SERVERS = NAMES | {
    "cassandra": "Cassandra",
    "kafka": "Kafka",
    "redis": "Redis, without a log",
    "redis_aof": "Redis, with a synced log",
    "tigerbeetle": "TigerBeetle",
}


def blocks(document: Document) -> list[Block]:
    return [*_generators(document), *_machine(document), *_left_out(document), *_remarks(document)]


_SERVING = ("no-op server", "embedded gateway", "gateway")


def _generators(document: Document) -> list[Block]:
    rows = []
    labels: Sequence[tuple[str, str, dict[str, Any]]] = (
        ("unary", "our stub user, closed loop", {"load": "hot", "in_flight": reference_in_flight(document)}),
        ("at_rate", "our stub user, open loop, more than it can send", {}),
        ("ghz", "ghz, closed loop", {}),
        ("h2load", "h2load, closed loop, one order again and again", {}),
        ("stream", "our stream client, 500 orders a message", {"load": "hot"}),
    )
    for kind, label, conditions in labels:
        for system in ("noop", "embedded", "cluster"):
            ceiling_only = kind in ("unary", "at_rate", "stream") and system != "noop"
            runs = select(document, kind, system, **conditions)
            if not runs or ceiling_only:
                continue
            by_role = cpu_us_per_order(runs)
            server = next((by_role[role] for role in _SERVING if role in by_role), None)
            client = wording.micros(by_role.get("load generator"))
            rows.append((label, system, wording.rate(runs), client, wording.micros(server)))
    if not any(row[0].startswith(("ghz", "h2load")) or "open loop" in row[0] for row in rows):
        return []
    text = (
        "How much load each generator makes against a server that does nothing is its ceiling here; its CPU is beside"
        " the server's on the same cores. ghz and h2load are other people's, and do not say what they cost."
    )
    head = ("load generator", "against", "orders/s", "generator µs an order", "server µs an order")
    return [Heading("Load generators"), Text(text), Table(head, rows)]


def _machine(document: Document) -> list[Block]:
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
        rows.append((_SERVERS[server], ", ".join(f"{name} {value}" for name, value in facts.items())))
    if "seconds" in document:
        rows.append(("the whole run", f"{document['seconds']['all'] / 60:.1f} minutes"))
    return [Heading("The machine"), Table(("what", "value"), rows)]


def _left_out(document: Document) -> list[Block]:
    left_out = document.get("left_out", [])
    if not left_out:
        return []
    rows = [(entry["what"], entry["why"]) for entry in left_out]
    return [Heading("Left out"), Table(("what", "why"), rows)]


def _remarks(document: Document) -> list[Block]:
    cores = document["machine"]["cores"]
    remarks = [
        (
            f"Everything shares {cores} cores: load generator, gateway, two stock servers, relay, PostgreSQL, Kafka"
            " and Cassandra. What one of them uses the others lack. The no-op server shares them with the load"
            " generator and idle servers only, so the cluster's ratio says what one machine can do for everything"
            " together, not how much slower the gateway is than a server that does nothing: for that compare the CPU"
            " per order."
        ),
    ]
    noop = cpu_us_per_order(select(document, "unary", "noop", in_flight=reference_in_flight(document)))
    if noop:
        remarks.append(
            f"The load generator is Python too: it uses {wording.micros(noop['load generator'])} µs a call where the"
            f" no-op server uses {wording.micros(noop['no-op server'])} µs. It is part of both sides of a ratio, which"
            " brings ratios nearer to 1."
        )
    remarks += [
        (
            "A run begins when the stock servers have written nothing to the ledger for a moment and the events of the"
            " warm-up are on Kafka; its CPU is counted until its own are. What was taken ahead of many SKUs goes back"
            " for half a minute after their run, which costs the next one up to 200 conditional writes/s. The rate in"
            " orders/s is that of the answers; the relay works meanwhile as far as it gets."
        ),
        (
            "Cassandra and Kafka use CPU when idle too (garbage collection, background tasks); the slower a run, the"
            " more of that is counted to each order."
        ),
        "The bare journal function writes to a database of its own on the same server, without relay or stock.",
    ]
    if document["audits"]:
        audits = "; ".join(
            f"{name}: {len(audit['findings'])} findings in {audit['orders']:,} orders and {audit['events']:,} events"
            for name, audit in document["audits"].items()
        )
        remarks.append(f"Audit after all runs: {audits}.")
    return [Heading("How to read this"), Bullets(remarks)]
