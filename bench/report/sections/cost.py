"""CPU for each order: by process, and by part inside our own processes."""

from collections.abc import Mapping

from bench.report import wording
from bench.report.blocks import Block, Heading, Picture, Table, Text
from bench.report.selecting import Document, cpu_us_per_order, parts_by_role, reference_in_flight, select

ROLES = (
    *("no-op server", "embedded gateway", "gateway", "stockd", "relay", "consumer"),
    *("postgres", "cassandra", "kafka", "load generator", "others"),
)


def blocks(document: Document) -> list[Block]:
    return [*_by_process(document), *_by_part(document)]


def _by_process(document: Document) -> list[Block]:
    at = reference_in_flight(document)
    columns = {
        "no-op, unary": select(document, "unary", "noop", in_flight=at),
        "embedded, unary": select(document, "unary", "embedded", load="hot", in_flight=at),
        "cluster, unary": select(document, "unary", "cluster", load="hot", in_flight=at),
        "cluster, unary, `exact`": select(document, "unary", "cluster", load="exact", in_flight=at),
        "embedded, stream": select(document, "stream", "embedded", load="hot"),
        "cluster, stream": select(document, "stream", "cluster", load="hot"),
        "cluster, stream, 1,000 SKUs": select(document, "stream", "cluster", load="some"),
        "bare journal": select(document, "journal", "postgresql"),
    }
    figures = {name: cpu_us_per_order(runs) for name, runs in columns.items()}
    rows = [
        (role, *(wording.micros(by_role.get(role)) for by_role in figures.values()))
        for role in ROLES
        if any(role in by_role for by_role in figures.values())
    ]
    if not rows:
        return []
    text = (
        f"User and system time, µs for each accepted order, until its events are on Kafka; unary at {at} in flight."
        " `others` is everything else that ran on the machine, the kernel's own work included."
    )
    picture = Picture("cpu.png", "CPU for each order, by process")
    return [Heading("CPU per order, by process"), Text(text), Table(("process", *figures), rows), picture]


def _by_part(document: Document) -> list[Block]:
    problems = sorted({profile["problem"] for profile in document["profiles"] if "problem" in profile})
    columns = parts_by_role(document)
    heading = Heading("CPU per order, by part")
    if not columns:
        return [heading, Text("No profile: " + "; ".join(problems))] if problems else []
    # By name where the weight is the same: the same figures must give the same page.
    found = sorted({part for column in columns.values() for part in column})
    parts = sorted(found, key=lambda part: _weight(part, columns))
    rows = [(part, *(wording.micros(column.get(part)) for column in columns.values())) for part in parts]
    rows.append(("**sum**", *(wording.micros(sum(column.values())) for column in columns.values())))
    text = (
        "µs of CPU for each accepted order inside each Python process. The sums are the processes' own CPU time from"
        " undisturbed runs; the shares are those of py-spy's samples (native frames included, waiting threads left"
        " out) from runs of their own. A sample belongs to the innermost frame that is ours or a named library's: a"
        " socket write for the journal counts as journal, protobuf called by gRPC as protobuf."
    )
    return [heading, Text(text), Table(("part", *columns), rows)]


def _weight(part: str, columns: Mapping[str, Mapping[str, float]]) -> float:
    return -max(column.get(part, 0.0) for column in columns.values())
