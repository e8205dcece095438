"""The published runs of the field, and ours of the same shape."""

from collections.abc import Sequence

from bench.figures import spread
from bench.report.blocks import Block, Bullets, Heading, Picture, Table, Text
from bench.report.selecting import Document, Run, refusals, select

# As published, for 1,000 requests on 300 units; machine and load generator are not known.
PUBLISHED = (
    ("published: Redis", "64.78", "478"),
    ("published: Kafka, 1 partition", "36.48", "141"),
    ("published: Kafka, 10 partitions", "55.53", "348"),
)

SALES = (
    ("cluster", "escrow", "**Sluice, cluster, `escrow`**"),
    ("cluster", "exact", "**Sluice, cluster, `exact`**"),
    ("cluster", "counter", "**Sluice, cluster, `counter`**"),
    ("cluster", "queued", "**Sluice, cluster, queue mode, answered when queued**"),
    ("embedded", "escrow", "**Sluice, embedded, `escrow`**"),
    ("embedded", "exact", "**Sluice, embedded, `exact`**"),
    ("embedded", "queued", "**Sluice, embedded, queue mode, answered when queued**"),
    ("noop", "all accepted", "no-op server: accepts them all"),
)

_WHY = (
    (
        "A thousand calls at once are over in less than a second: what is measured is how soon a server gets through"
        " them, and with it the load generator, which shares the cores. The no-op server's row is what that costs by"
        " itself."
    ),
    (
        "Latencies count from the moment of the burst, for accepted and sold-out alike. How the published ones were"
        " counted, on which machine and by which load generator, is not known: compare shapes, not milliseconds."
    ),
    (
        "Servers with Kafka in front usually answer when the request is in the log. That is no yes yet, and so they are"
        " early. The row in which one consumer decides answers the same question as the others."
    ),
    (
        "More partitions do not help one hot SKU: one broker has more, smaller batches to write and acknowledge, and"
        " nothing is decided in parallel that was not before."
    ),
    "Redis without a log keeps nothing: hold its row with a synced log against those of databases.",
)


def blocks(document: Document) -> list[Block]:
    rows = [
        (label, *_figures(runs))
        for system, load, label in SALES
        if (runs := select(document, "burst", system, load=load))
    ]
    rows += [
        (peer["label"], *_figures(runs))
        for name, peer in document.get("peers", {}).items()
        if (runs := select(document, "burst", name))
    ]
    if not rows:
        return []
    rows += [(label, average, "", p95, "", "", "300 units") for label, average, p95 in PUBLISHED]
    plan = document["plan"]
    text = (
        f"{plan['burst_orders']:,} requests at once on {plan['burst_units']:,} units over 8 connections, all answers"
        f" counted. Median of {plan['bursts'] * plan['repetitions']} bursts after a first one that is not counted;"
        " each has a SKU of its own."
    )
    head = ("what", "average ms", "p50 ms", "p95 ms", "p99 ms", "slowest ms", "accepted of each burst")
    picture = Picture("bursts.png", "A thousand requests at once: p50, p95 and p99")
    return [Heading("A thousand at once on three hundred"), Text(text), Table(head, rows), Bullets(_WHY), picture]


def _figures(runs: Sequence[Run]) -> tuple[str, ...]:
    bursts = [burst for run in runs for burst in run["bursts"]]
    figures = [
        f"{spread([burst['latency_ms'][name] for burst in bursts]).middle:.1f}"
        for name in ("mean", "p50", "p95", "p99", "max")
    ]
    accepted = sorted({burst["told"].get("ACCEPTED", 0) for burst in bursts})
    said = f"{accepted[0]:,}" if len(accepted) == 1 else f"{accepted[0]:,} to {accepted[-1]:,}"
    others = {reason for reason in refusals(runs) if reason != "OUT_OF_STOCK"}
    return (*figures, f"{said}, {', '.join(sorted(others))}" if others else said)
