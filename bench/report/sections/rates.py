"""Open loop: latency at a fixed offered rate, and what becomes of more than can be served."""

from collections.abc import Sequence

from bench.figures import spread
from bench.loads.frames import CANCELLED
from bench.report import wording
from bench.report.blocks import Block, Heading, Picture, Table, Text
from bench.report.selecting import Document, Run, own_memory, select

LATE_MS = 5.0
"""Orders that were sent this much after they were due say that the load generator, not the server, was too slow."""


def blocks(document: Document) -> list[Block]:
    rows: list[tuple[str, ...]] = []
    for system in ("embedded", "cluster"):
        runs = select(document, "at_rate", system)
        shares = sorted({run["share_of_peak"] for run in runs})
        rows += [_row(system, share, [run for run in runs if run["share_of_peak"] == share]) for share in shares]
    if not rows:
        return []
    text = (
        "Orders are sent at a fixed rate whether earlier ones are answered or not, and a latency counts from the"
        " moment at which the order was due (no coordinated omission). The peak is the rate of the closed loop in the"
        " same repetition. Goodput is what was accepted before the time was over. `sent late` is how long after its"
        " moment an order left the load generator, which shares the cores: where that is more than some milliseconds"
        " the figure is as much its own."
    )
    head = (
        *("system", "offered, of peak", "offered/s", "goodput/s", "p50 ms", "p99 ms", "slowest ms"),
        *("refused", "refusals p99 ms", "sent late, p99 ms"),
    )
    picture = Picture("rates.png", "Latency by offered rate")
    return [Heading("Open loop: latency by offered rate"), Text(text), Table(head, rows), picture, *_flood(document)]


def _row(system: str, share: float, runs: Sequence[Run]) -> tuple[str, ...]:
    def middle(values: Sequence[float | None]) -> str:
        known = wording.known(values)
        return f"{spread(known).middle:,.1f}" if known else ""

    return (
        system,
        f"{share:g}",
        wording.count(spread([run["offered_per_s"] for run in runs])),
        wording.rate(runs),
        *wording.latencies(runs, ("p50", "p99", "max")),
        wording.refused(runs),
        middle([run["refused_latency_ms"]["p99"] for run in runs]),
        middle([run["late_ms"]["p99"] for run in runs]),
    )


def _flood(document: Document) -> list[Block]:
    runs = [run for system in ("embedded", "cluster") for run in select(document, "flood", system)]
    if not runs:
        return []
    text = (
        "The same with more than a gateway can even refuse. Calls that it has not taken up wait, each in some 14 KB of"
        f" memory; when too many do, gRPC itself ends some of them, not read, as CANCELLED (`{CANCELLED}`)."
    )
    head = (
        *("system", "offered, of peak", "goodput, of peak", "refused", "refusals p50 ms", "refusals p99 ms"),
        "most memory of a process, MB",
    )
    return [Heading("Flood", 3), Text(text), Table(head, [_flooded(run) for run in runs])]


def _flooded(run: Run) -> tuple[str, ...]:
    waited = [wording.known([run["refused_latency_ms"][name]]) for name in ("p50", "p99")]
    return (
        run["system"],
        f"{run['offered_per_s'] / run['peak']:.1f}",
        f"{run['orders_per_s'] / run['peak']:.2f}",
        wording.refused([run]),
        *(f"{milliseconds[0]:,.0f}" if milliseconds else "" for milliseconds in waited),
        f"{max(own_memory(run).values()):,.0f}",
    )
