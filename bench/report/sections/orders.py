"""Single calls and streams in closed loop."""

from bench.figures import ratios, spread
from bench.report import wording
from bench.report.blocks import Block, Heading, Picture, Table, Text
from bench.report.selecting import Document, fastest, fastest_journal, rates, select, writes_per_1000

NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}

UNARY_SERVERS = (
    ("noop", "hot", "no-op server"),
    ("embedded", "hot", "embedded"),
    ("cluster", "hot", "cluster"),
    ("cluster", "exact", "cluster, policy `exact`"),
    ("cluster", "counter", "cluster, policy `counter`"),
    # Documents of an earlier format have these two here, not among the peers.
    ("lwt_per_order", "hot", "peer: one conditional write per order"),
    ("counter_per_order", "hot", "peer: one read and one counter addition per order"),
)

STREAM_LOADS = {
    "noop": (("hot", "no-op server"),),
    "embedded": (("hot", "embedded, one hot SKU"), ("some", "embedded, 1,000 SKUs")),
    "cluster": (
        ("accept", "cluster, one hot SKU, relay standing still"),
        ("hot", "cluster, one hot SKU"),
        ("exact", "cluster, one hot SKU, policy `exact`"),
        ("some", "cluster, 1,000 SKUs"),
        ("many", "cluster, 10,000 SKUs"),
    ),
}


def blocks(document: Document) -> list[Block]:
    return [*_unary(document), *_stream(document)]


def _unary(document: Document) -> list[Block]:
    rows = []
    for in_flight in document["plan"]["concurrencies"]:
        noop = rates(document, "unary", "noop", load="hot", in_flight=in_flight)
        for system, load, label in UNARY_SERVERS:
            runs = select(document, "unary", system, load=load, in_flight=in_flight)
            if not runs:
                continue
            compared = ratios([run["orders_per_s"] for run in runs], noop) if noop else []
            relation = "1" if system == "noop" else wording.ratio(spread(compared)) if compared else ""
            rows.append(
                (str(in_flight), label, wording.rate(runs), relation, *wording.latencies(runs), wording.refused(runs))
            )
    if not rows:
        return []
    text = (
        "Closed loop: so many callers over 8 connections from one load process, each sending its next order when the"
        " last is answered. All orders want the same SKU. The no-op server is built by the same code as the gateway"
        " (options, wrapper, event loop), reads the request and answers it."
    )
    head = ("in flight", "server", "orders/s", "ratio to no-op", "p50 ms", "p95 ms", "p99 ms", "refused")
    picture = Picture("unary.png", "Orders a second in single calls, by server")
    return [Heading("Unary: PlaceOrder"), Text(text), Table(head, rows), picture]


def _stream(document: Document) -> list[Block]:
    rows: list[tuple[str, ...]] = []
    for kind, systems in (("postgresql", ("noop", "cluster")), ("sqlite", ("embedded",))):
        reference = fastest_journal(document, kind)
        runs_of_kind = select(document, "journal", kind)
        for loops in sorted({run["loops"] for run in runs_of_kind}):
            runs = fastest([run for run in runs_of_kind if run["loops"] == loops])
            what = f"bare journal function on {NAMES[kind]}, {loops} loops"
            relation = wording.ratio(spread(ratios([run["orders_per_s"] for run in runs], reference)))
            rows.append((what, wording.rate(runs), relation, "", "", "", "", "", ""))
        rows += [row for system in systems for row in _stream_rows(document, system, reference)]
    if not rows:
        return []
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
    picture = Picture("stream.png", "Orders a second over one stream")
    return [Heading("Stream: PlaceOrders"), Text(text), Table(head, rows), picture]


def _stream_rows(document: Document, system: str, reference: list[float]) -> list[tuple[str, ...]]:
    rows = []
    for load, label in STREAM_LOADS[system]:
        runs = select(document, "stream", system, load=load)
        if not runs:
            continue
        compared = ratios([run["orders_per_s"] for run in runs], reference) if reference and system != "noop" else []
        drained = spread([run["accepted"] / (run["elapsed_s"] + run["drain_s"]) for run in runs])
        on_cluster = system == "cluster"
        rows.append(
            (
                label,
                wording.rate(runs),
                wording.ratio(spread(compared)) if compared else "",
                *wording.latencies(runs),
                wording.count(drained) if on_cluster else "",
                f"{spread(writes_per_1000(runs)).middle:.2f}" if on_cluster else "",
                wording.refused(runs),
            )
        )
    return rows
