"""Sluice beside what people use instead: single calls, and TigerBeetle without a server of ours before it."""

from bench.figures import spread
from bench.report import wording
from bench.report.blocks import Block, Heading, Picture, Table, Text
from bench.report.selecting import Document, fastest_tigerbeetle, reference_in_flight, select

OURS = {
    "embedded": "order row, spend and event, in one SQLite transaction",
    "cluster": "order row, spend and event, in one PostgreSQL transaction",
}


def blocks(document: Document) -> list[Block]:
    return [*_calls(document), *_tigerbeetle(document)]


def _calls(document: Document) -> list[Block]:
    at = reference_in_flight(document)
    rows = []
    for name, peer in document.get("peers", {}).items():
        runs = select(document, "unary", name, load="peer", in_flight=at)
        if runs:
            rows.append((peer["label"], runs, peer["keeps"], _yes(peer["durable"]), _yes(not peer["oversells"])))
    if not rows:
        return []
    for name, keeps in OURS.items():
        if runs := select(document, "unary", name, load="hot", in_flight=at):
            rows.append((f"**Sluice, {name}**", runs, keeps, "yes", "yes"))
    rows.sort(key=lambda row: -spread([run["orders_per_s"] for run in row[1]]).middle)
    text = (
        f"Each peer is a server built as the gateway is, {at} calls in flight, one hot SKU, the same load generator."
        " `durable`: what is said to be kept survives a power cut. `exact`: no more than there is hears yes. Kafka"
        " does not sync each record, and here it has one broker."
    )
    head = ("what", "orders/s", "p50 ms", "p95 ms", "p99 ms", "kept when the buyer hears yes", "durable", "exact")
    table = Table(
        head,
        [
            (label, wording.rate(runs), *wording.latencies(runs), keeps, durable, exact)
            for label, runs, keeps, durable, exact in rows
        ],
    )
    return [Heading("Peers: single calls"), Text(text), table, Picture("peers.png", "Orders a second, by peer")]


def _tigerbeetle(document: Document) -> list[Block]:
    best = fastest_tigerbeetle(document)
    if not best:
        return []
    rows = []
    for clients in document["plan"]["tigerbeetle_clients"]:
        for batch in document["plan"]["tigerbeetle_batches"]:
            if runs := select(document, "tigerbeetle", "tigerbeetle", clients=clients, batch=batch):
                cpu = spread([_client_us(run["cpu_s"], run["accepted"]) for run in runs]).middle
                rows.append((str(clients), f"{batch:,}", wording.rate(runs), f"{cpu:.1f}"))
    text = (
        "Pending transfers on one hot account from Python clients, each a process of its own with one request in"
        " flight, as the client has it; made before the clock starts. What is kept is the transfer: no order row,"
        " nothing for Kafka."
    )
    head = ("clients", "transfers a batch", "transfers/s", "client CPU µs each")
    rows += [
        (NAMES_OF_STREAMS[load], "500", wording.rate(runs), "")
        for load in NAMES_OF_STREAMS
        if (runs := select(document, "stream", "cluster", load=load))
    ]
    return [Heading("TigerBeetle from Python, and the stream beside it"), Text(text), Table(head, rows)]


NAMES_OF_STREAMS = {
    "accept": "**Sluice, cluster, relay standing still**",
    "hot": "**Sluice, cluster, relay at work**",
}


def _client_us(cpu_s: dict[str, float], accepted: int) -> float:
    return 1e6 * sum(seconds for name, seconds in cpu_s.items() if name.startswith("client")) / max(1, accepted)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
