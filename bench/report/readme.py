"""The figures in the README."""

from typing import Any

from bench.report import wording
from bench.report.markdown import table
from bench.report.selecting import Document, reference_in_flight, select

FIGURES_BEGIN = "<!-- figures: begin -->\n"
FIGURES_END = "<!-- figures: end -->\n"


def with_figures(readme: str, document: Document) -> str:
    """The README with its figures replaced by those of this run."""
    head, _, rest = readme.partition(FIGURES_BEGIN)
    _, _, tail = rest.partition(FIGURES_END)
    return f"{head}{FIGURES_BEGIN}{_figures(document)}{FIGURES_END}{tail}"


def _figures(document: Document) -> str:
    machine = document["machine"]
    at = reference_in_flight(document)
    single: dict[str, Any] = {"load": "hot", "in_flight": at}
    runs = [
        (f"embedded, single calls, {at} in flight", select(document, "unary", "embedded", **single)),
        ("embedded, stream, 500 a message", select(document, "stream", "embedded", load="hot")),
        (f"cluster, single calls, {at} in flight", select(document, "unary", "cluster", **single)),
        ("cluster, stream, 500 a message, while the relay drains", select(document, "stream", "cluster", load="hot")),
    ]
    rows = [(what, wording.rate(found)) for what, found in runs if found]
    return (
        "Accepted and durable orders/s on one hot SKU, policy `escrow`, everything (load generator, all parts,"
        " Cassandra, Kafka, PostgreSQL)\n"
        f"on {machine['cores']} cores ({machine['cpu']}), fsync on; median, lowest and highest of"
        f" {document['plan']['repetitions']}:\n\n{table(('what', 'orders/s'), rows)}\n\n"
        "How they were taken, what they cost, and which goals they miss: [performance](docs/performance.md).\n"
    )
