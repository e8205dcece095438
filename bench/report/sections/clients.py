"""The client library, as `bench.client` sums it up."""

from bench.client import CALLERS, summarise
from bench.report import wording
from bench.report.blocks import Block, Heading, Table, Text
from bench.report.selecting import Document


def blocks(document: Document) -> list[Block]:
    runs = [run for run in document["runs"] if run["kind"] == "client"]
    if not runs:
        return []
    rows = [
        (
            row.way,
            wording.count(row.orders_per_s),
            wording.ratio(row.ratio),
            f"{row.p50_ms.middle:.0f}",
            f"{row.p99_ms.middle:.0f}",
            wording.micros(row.client_us.middle),
            wording.micros(row.selling_us.middle),
        )
        for row in summarise(runs)
    ]
    text = (
        f"{CALLERS:,} coroutines over one `sluice.client.Client`, each placing one order after the other, and messages"
        " of 500 orders made by hand and encoded beforehand, on the cluster in turn. CPU is counted until all are"
        " answered."
    )
    head = (
        *("what", "orders/s", "ratio to 8 batches by hand", "p50 ms", "p99 ms"),
        *("client µs an order", "gateway and stockd µs an order"),
    )
    return [Heading("The client library"), Text(text), Table(head, rows)]
